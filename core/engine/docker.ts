import { containerCalls } from './containers.ts'
import type { Engine } from './engine.ts'
import { execCalls } from './exec.ts'
import { imageCalls } from './images.ts'
import { readInfo } from './info.ts'
import { createTransport } from './transport.ts'

export interface DockerEngineOptions {
  /** Unix socket of the Engine. */
  socketPath: string
}

/** The Engine at a Unix socket. Connects at each call, so it may be started and stopped at will. */
export function createDockerEngine({ socketPath }: DockerEngineOptions): Engine {
  const transport = createTransport(socketPath)
  return {
    info: () => readInfo(transport),
    ...containerCalls(transport),
    ...execCalls(transport),
    ...imageCalls(transport),
  }
}
