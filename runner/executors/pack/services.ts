import type { ContainerServices } from '../docker/services.ts'
import type { Keeper } from './keepers.ts'
import type { WarmContainers } from './warm-containers.ts'

/** What items that share containers lean on. */
export interface PackServices extends ContainerServices {
  warm: WarmContainers
  keeper: Keeper
  /** Directory with one for each item. */
  items: string
}

/** The handle of an item: the container, and the process in it by the Engine's name. */
export interface ItemHandle {
  containerId: string
  execId: string
}

export function formatHandle({ containerId, execId }: ItemHandle): string {
  return `${containerId}:${execId}`
}

export function parseHandle(handle: string | null): ItemHandle | undefined {
  const [containerId, execId] = handle?.split(':') ?? []
  return containerId === undefined || execId === undefined ? undefined : { containerId, execId }
}
