import { errorMessage } from '#core/errors.ts'
import { createBehaviour } from './fleet/behaviour.ts'
import { createFakeFleet, type FakeFleet } from './fleet/fleet.ts'
import type { FromFleet, ToFleet } from './run/messages.ts'

// A fleet as a process of its own, so that it takes no time of whoever measures. It ends with the one that started it.

const TELL_MS = 100

let fleet: FakeFleet | undefined

function tell(message: FromFleet): void {
  process.send?.(message)
}

async function start({ hostUrl, runnerToken, nodes, cores, memoryBytes, behaviour, seed }: Extract<ToFleet, { kind: 'start' }>): Promise<void> {
  fleet = await createFakeFleet({ hostUrl, runnerToken: () => runnerToken, nodes, hardware: { cores, memoryBytes }, behave: createBehaviour(behaviour), seed })
  tell({ kind: 'registered' })
  const { counters } = fleet.ledger
  setInterval(() => tell({ kind: 'counters', counters }), TELL_MS)
}

process.on('message', (message: ToFleet) => {
  if (message.kind === 'executions') tell({ kind: 'executions', executions: fleet?.ledger.executions() ?? [] })
  else start(message).catch((error: unknown) => tell({ kind: 'failed', message: errorMessage(error) }))
})
process.on('disconnect', () => process.exit())
// Ctrl-C is for whoever started it.
process.on('SIGINT', () => undefined)
