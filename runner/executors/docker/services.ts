import type { Config } from '#core/config/schema.ts'
import type { Engine } from '#core/engine/engine.ts'
import type { Images } from '../../sync/images.ts'
import type { ExecutorServices } from '../services.ts'
import type { CpuAllocator } from './cpus.ts'
import type { OutOfMemory } from './out-of-memory.ts'

/** What executions in containers lean on. */
export interface ContainerServices extends ExecutorServices {
  engine: Engine
  images: Images
  cpus: CpuAllocator
  outOfMemory: OutOfMemory
  gpuDriver: Config['docker']['gpu_driver']
  /** Whether this node has any. */
  hasGpus: boolean
}
