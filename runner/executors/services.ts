import type { SharedPaths } from '#core/paths.ts'
import type { RunnerState } from '../state/state.ts'

/** What every execution leans on. */
export interface ExecutorServices {
  state: RunnerState
  paths: SharedPaths
  /** Name of this node. */
  hostname: string
  localTempDir: string
  /** Fires when the Runner stops: everything lets go, and what was started runs on. */
  closing: AbortSignal
}
