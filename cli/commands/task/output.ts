import { defineCommand } from '../../framework/command.ts'
import type { ConnectionArgs } from '../../framework/connection.ts'
import { print } from '../../framework/output.ts'
import type { OutputName } from '../../tasks/output.ts'

const args = {
  id: { type: 'positional', description: 'Id of the task' },
  follow: { type: 'boolean', alias: 'f', description: 'Go on until the task has ended' },
} as const

export const stdoutOfTask = defineCommand({
  description: 'Print what a task printed, byte for byte',
  args,
  run: (context) => printOutput('stdout', context.args),
})

export const stderrOfTask = defineCommand({
  description: 'Print what a task printed to standard error, byte for byte',
  args,
  run: (context) => printOutput('stderr', context.args),
})

// --- internal ---

async function printOutput(name: OutputName, given: ConnectionArgs & { id: string; follow: boolean }): Promise<void> {
  const { connect } = await import('../../framework/connection.ts')
  const { copyOutput } = await import('../../tasks/output.ts')
  await copyOutput(connect(given).client, given.id, name, { follow: given.follow, reached: false, write: print })
}
