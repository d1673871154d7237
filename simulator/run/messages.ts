import type { BehaviourOptions } from '../fleet/behaviour.ts'
import type { TrueExecution, FleetCounters } from '../fleet/ledger.ts'

/** What the fleet's process is told. */
export type ToFleet =
  | { kind: 'start'; hostUrl: string; runnerToken: string; nodes: number; cores: number; memoryBytes: number; behaviour: BehaviourOptions; seed: number }
  | { kind: 'executions' }

/** What it tells. */
export type FromFleet =
  | { kind: 'registered' }
  | { kind: 'failed'; message: string }
  /** Now and then. */
  | { kind: 'counters'; counters: FleetCounters }
  | { kind: 'executions'; executions: TrueExecution[] }
