import { fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import type { TrueExecution, FleetCounters } from '../fleet/ledger.ts'
import type { FromFleet, ToFleet } from './messages.ts'

/** A fleet in a process of its own. */
export interface FleetProcess {
  readonly pid: number
  /** Resolves once `check` holds. @throws when nothing that was counted has changed for `patienceMs`, and when the process ends */
  until(check: (counters: FleetCounters) => boolean, patienceMs: number): Promise<FleetCounters>
  executions(): Promise<TrueExecution[]>
  stop(): Promise<void>
}

export type FleetOptions = Omit<Extract<ToFleet, { kind: 'start' }>, 'kind'>

/** Resolves once all nodes are registered. @param program `dist/simulator/fleet-process.mjs` @throws also when `signal` fires before that */
export async function startFleet(program: string, options: FleetOptions, signal: AbortSignal): Promise<FleetProcess> {
  const child = fork(program, { serialization: 'advanced', detached: true })
  const exited = once(child, 'exit')
  const heard = new EventEmitter<{ registered: []; counters: [FleetCounters]; executions: [TrueExecution[]]; error: [Error] }>()
  // Whoever waits for anything hears it; else nobody needs to.
  heard.on('error', () => undefined)
  child.on('exit', () => heard.emit('error', new Error('the process of the fleet has ended')))
  child.on('message', (message: FromFleet) => {
    switch (message.kind) {
      case 'registered': return heard.emit('registered')
      case 'counters': return heard.emit('counters', message.counters)
      case 'executions': return heard.emit('executions', message.executions)
      case 'failed': return heard.emit('error', new Error(message.message))
    }
  })
  const tell = (message: ToFleet) => child.send(message)

  async function stop(): Promise<void> {
    if (child.connected) child.disconnect()
    await exited
  }

  tell({ kind: 'start', ...options })
  try {
    await once(heard, 'registered', { signal })
  } catch (error) {
    await stop()
    throw error
  }
  return {
    pid: child.pid ?? 0,
    async until(check, patienceMs) {
      let last = ''
      let changed = Date.now()
      for (;;) {
        const [counters] = (await once(heard, 'counters')) as [FleetCounters]
        if (check(counters)) return counters
        // They beat whatever happens.
        const { beats: _, ...work } = counters
        const now = JSON.stringify(work)
        if (now !== last) changed = Date.now()
        last = now
        if (Date.now() - changed > patienceMs) throw new Error(`nothing has happened for ${patienceMs / 1000} s: ${now}`)
      }
    },
    async executions() {
      tell({ kind: 'executions' })
      const [executions] = (await once(heard, 'executions')) as [TrueExecution[]]
      return executions
    },
    stop,
  }
}
