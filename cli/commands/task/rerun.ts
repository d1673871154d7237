import { defineCommand } from '../../framework/command.ts'
import { printLine, printObjects, tell } from '../../framework/output.ts'
import { usage } from '../../framework/parse.ts'
import { ids } from './ids.ts'
import { submitArgs } from '../../tasks/submit-args.ts'

export const rerunTask = defineCommand({
  description: 'Submit tasks again as new ones: the same version, command, variables, mounts and all',
  notes: `Prints the ids of the new tasks; --wait, --follow and the exit code are as with "hakuriver task submit".`,
  example: 'hakuriver task rerun 01ja3v8xk2m4n6p8q0r2s4t6v8 --latest --wait',
  args: {
    ...ids,
    latest: { type: 'boolean', description: "In the environment's current version instead of the pinned one" },
    wait: submitArgs.wait,
    follow: submitArgs.follow,
    key: submitArgs.key,
  },
  async run({ args }) {
    if (args.key !== undefined && args.id.length > 1) throw usage('--key is for a single task.')
    const { connect } = await import('../../framework/connection.ts')
    const { loginName } = await import('../../framework/login-name.ts')
    const { tryAll } = await import('../../framework/try-all.ts')
    const { submissionKey, submit } = await import('../../tasks/submit.ts')
    const { waitForSubmitted } = await import('../../tasks/wait-submitted.ts')
    const ownKey = args.key === undefined ? undefined : submissionKey(args.key)
    const { client } = connect(args)
    const isWaiting = args.wait || args.follow
    const { results, code } = await tryAll(args.id, { program: 'hakuriver task', json: args.json }, async (id) => {
      const key = ownKey ?? submissionKey()
      const tasks = await submit(key, () => client.call('rerunTask', { params: { id }, body: { latest: args.latest, submitter: loginName(), key } }))
      if (!args.json) for (const task of tasks) await (isWaiting ? tell(task.id) : printLine(task.id))
      return tasks
    })
    const tasks = results.flat()
    if (isWaiting) return Math.max(code, await waitForSubmitted(client, tasks, { json: args.json, follow: args.follow, notifyCommand: undefined }))
    if (args.json) await printObjects(tasks)
    return code
  },
})
