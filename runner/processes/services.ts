import type { CpuAllocator } from '../executors/docker/cpus.ts'
import type { ExecutorServices } from '../executors/services.ts'
import type { CgroupSetup } from './scope/detect.ts'

/** What plain processes lean on. */
export interface ProcessServices extends ExecutorServices {
  cpus: Pick<CpuAllocator, 'take' | 'limits'>
  /** Looked for when the first process is made. */
  cgroups(): CgroupSetup
  /** Directory with one for each execution. */
  processes: string
  /** File of the supervisor: see `build/helpers.mjs`. */
  supervisor: string
}
