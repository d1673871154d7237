import type { Engine } from '#core/engine/engine.ts'
import type { SharedPaths } from '#core/paths.ts'
import type { RunnerState } from '../state/state.ts'
import type { Images } from '../sync/images.ts'

/** What the execution of a task leans on. */
export interface ExecutorServices {
  engine: Engine
  state: RunnerState
  images: Images
  paths: SharedPaths
  /** Name of this node. */
  hostname: string
  localTempDir: string
  /** Fires when the Runner stops: everything lets go, and containers run on. */
  closing: AbortSignal
}
