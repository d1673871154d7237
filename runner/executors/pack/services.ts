import type { ContainerServices } from '../docker/services.ts'
import type { Executor } from '../executor.ts'
import type { Keeper } from './create-keeper.ts'
import type { WarmContainers } from './warm-containers.ts'

/** What items that share containers lean on. */
export interface PackServices extends ContainerServices {
  warm: WarmContainers
  keeper: Keeper
  /** Directory with one for each item. */
  items: string
  /** Executes items where they can not share. */
  container: Executor
}

const PREFIX = 'pack:'

/** The handle of an item that shares a container: which. */
export function formatHandle(containerId: string): string {
  return PREFIX + containerId
}

/** `undefined`: it shares none. */
export function parseHandle(handle: string | null): string | undefined {
  return handle?.startsWith(PREFIX) ? handle.slice(PREFIX.length) : undefined
}
