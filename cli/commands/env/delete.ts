import type { DeletionObstacle, DeletionPlan, DeletionResult } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { parseEnvironmentReference } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { formatVersions } from '../../environments/versions.ts'
import { defineCommand } from '../../framework/command.ts'
import { exitCodes } from '../../framework/exit-codes.ts'
import { printJson, printLine } from '../../framework/output.ts'

export const deleteVersions = defineCommand({
  description: 'Delete a version of an environment, or all of them; its container stays',
  notes: `What is pinned or needed by an unfinished task is refused, and then nothing is deleted at all. With --force pins count for nothing, and tasks
that still wait in the queue fail and say why; what a node was given is never taken from it.
Shows what it will do and asks first; --yes does not ask, and is needed where nobody can be asked.`,
  example: 'hakuriver env delete my-env@1700000000 --dry-run',
  args: {
    name: { type: 'positional', description: 'NAME for all versions, or NAME@VERSION' },
    force: { type: 'boolean', description: 'Delete pinned versions too, and those that queued tasks need' },
    yes: { type: 'boolean', alias: 'y', description: 'Do not ask' },
    'dry-run': { type: 'boolean', description: 'Show what would be deleted, and delete nothing' },
  },
  async run({ args }) {
    const { name, version } = parseEnvironmentReference(args.name)
    const { connect } = await import('../../framework/connection.ts')
    const { client } = connect(args)
    const plan = await client.call('planDeletion', { params: { name }, query: { ...(version !== undefined && { version }) } })
    const refusals = plan.obstacles.filter(({ forcible }) => !args.force || !forcible)
    if (args['dry-run']) return args.json ? printJson(plan) : printLine(describePlan(plan, refusals))
    if (refusals.length > 0) throw new HakuError('version.needed', `Nothing was deleted: ${describeRefusals(refusals)}`)
    if (!args.yes) {
      const { confirm } = await import('../../framework/confirm.ts')
      process.stderr.write(`${describePlan(plan, refusals)}\n`)
      if (!(await confirm('Delete this?'))) {
        process.stderr.write('Nothing was deleted.\n')
        return exitCodes.failed
      }
    }
    // Exactly what was shown, whatever has come since.
    const result = await client.call('deleteVersions', { params: { name }, body: { versions: plan.versions.map((each) => each.version), force: args.force } })
    await (args.json ? printJson(result) : printLine(describeResult(result)))
    return exitCodes.ok
  },
})

// --- internal ---

function describePlan({ environment, versions, obstacles, bytes }: DeletionPlan, refusals: readonly DeletionObstacle[]): string {
  const failing = obstacles.filter((obstacle) => obstacle.kind === 'queued' && !refusals.includes(obstacle)).map(({ task }) => task)
  return [
    `To be deleted of ${environment} (${formatSize(bytes)}):`,
    formatVersions(versions),
    ...(versions.some(({ current }) => current) ? ['The current version is among them.'] : []),
    ...(failing.length > 0 ? [`Queued tasks that will fail: ${failing.join(', ')}`] : []),
    ...(refusals.length > 0 ? [`This would be refused: ${describeRefusals(refusals)}`] : []),
    `The container of ${environment}, if it has one, stays.`,
  ].join('\n')
}

function describeRefusals(refusals: readonly DeletionObstacle[]): string {
  const reasons = refusals.map(({ version, kind, task }) => `version ${version} is ${kind === 'pinned' ? 'pinned' : `needed by the ${kind === 'queued' ? 'queued ' : ''}task ${task}`}`)
  const cure = refusals.every(({ forcible }) => forcible) ? 'Give --force if that is meant; queued tasks then fail.' : 'Wait for the tasks, or end them with "hakuriver task kill ID".'
  return `${reasons.join('; ')}. ${cure}`
}

function describeResult({ environment, deleted, failedTasks, bytes }: DeletionResult): string {
  const failed = failedTasks.length > 0 ? ` Failed with it: ${failedTasks.join(', ')}.` : ''
  return `Deleted ${deleted.join(', ')} of ${environment} (${formatSize(bytes)}).${failed} Its container, if it has one, stays: "hakuriver.docker delete-container ${environment}" deletes that.`
}
