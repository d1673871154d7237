import type { NodeHardware } from '#core/api/schemas.ts'
import type { Config } from '#core/config/schema.ts'
import type { Engine } from '#core/engine/engine.ts'
import type { runnerStatePaths } from '#core/paths.ts'
import { readOwnCpus } from '../hardware/cpu-list.ts'
import type { KernelLog } from '../hardware/kernel-log.ts'
import { plainServices } from '../processes/plain.ts'
import { createProcessExecutor } from '../processes/process-executor.ts'
import { removeOrphanProcesses } from '../processes/remove.ts'
import type { Images } from '../sync/images.ts'
import { createContainerExecutor } from './docker/container-executor.ts'
import { createCpuAllocator } from './docker/cpus.ts'
import { removeOrphans } from './docker/orphans.ts'
import { createOutOfMemory } from './docker/out-of-memory.ts'
import type { Executors } from './executor.ts'
import { helperFile } from './helper-file.ts'
import { findRuntime } from './pack/agent/runtime.ts'
import { removeOrphanItems } from './pack/item-files.ts'
import { createKeeper } from './pack/create-keeper.ts'
import { createPackExecutor } from './pack/pack-executor.ts'
import { createWarmContainers } from './pack/warm-containers.ts'
import type { ExecutorServices } from './services.ts'

export interface ExecutorsOptions {
  config: Pick<Config, 'docker' | 'runner'>
  services: ExecutorServices
  engine: Engine
  images: Images
  files: ReturnType<typeof runnerStatePaths>
  hardware: NodeHardware
  kernelLog: KernelLog | undefined
}

/** All sorts of executions of this node. */
export interface NodeExecutors {
  executors: Executors
  /** Ends and removes what belongs to no execution that this node's state knows. @throws `engine.*`, `internal.error` */
  sweep(): Promise<void>
  /** Removes what waits for further executions, at the end of the Runner. @throws `engine.*` */
  close(): Promise<void>
}

export function createExecutors({ config: { docker, runner }, services, engine, images, files, hardware, kernelLog }: ExecutorsOptions): NodeExecutors {
  const { state, hostname, closing } = services
  const cpus = createCpuAllocator({ mode: docker.cpu_limit, state, numaNodes: hardware.numaNodes, cpus: readOwnCpus() })
  const containers = { ...services, engine, images, cpus, outOfMemory: createOutOfMemory({ log: kernelLog, closing }), gpuDriver: docker.gpu_driver, hasGpus: hardware.gpus.length > 0 }
  const container = createContainerExecutor(containers)
  const keeper = createKeeper({ program: helperFile('keeper'), socketPath: docker.socket, directory: files.items })
  const warm = createWarmContainers({ ...containers, keeper, items: files.items, runtime: () => findRuntime(helperFile('agent')) })
  const plain = plainServices({ ...services, cpus, processes: files.processes, supervisor: helperFile('supervisor') })
  return {
    executors: {
      container,
      pack: createPackExecutor({ ...containers, warm, keeper, container, items: files.items }),
      plain: createProcessExecutor(plain),
    },
    async sweep() {
      if (runner.plain_processes) await removeOrphanProcesses(plain)
      await removeOrphans({ engine, state, hostname })
      await warm.sweep()
      await removeOrphanItems(files.items, state)
    },
    close: () => warm.close(),
  }
}
