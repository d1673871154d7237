import type { VersionOrder } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { isHakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { ImageRecord, RunnerState, TaskRecord } from '../state/state.ts'

export interface CleanUpOptions {
  engine: Pick<Engine, 'removeImage'>
  state: RunnerState
  /** Bytes of all images; `undefined`: no limit. */
  limitBytes: number | undefined
}

/** Removes superseded images, then what is too much. What a container still uses stays until a later try. */
export async function cleanUp({ engine, state, limitBytes }: CleanUpOptions): Promise<void> {
  await removeImages(engine, state, planSuperseded(state.listImages(), state.listActive()))
  if (limitBytes === undefined) return
  const evicted = planEviction(state.listImages(), state.listActive(), limitBytes)
  for (const { environment, version } of evicted) console.error(`[hakuriver] [runner] removing ${environment}-${version}, the least recently used, to stay within docker.image_cache_limit`)
  await removeImages(engine, state, evicted)
}

/** Images of versions that have a newer one here, that no unfinished task was given, and that the Host did not ask for all the same. */
export function planSuperseded(images: readonly ImageRecord[], tasks: readonly Pick<TaskRecord, 'order' | 'report'>[]): ImageRecord[] {
  const needed = neededVersions(tasks)
  return images.filter((image) => {
    const isOlder = images.some((other) => other.environment === image.environment && other.version > image.version)
    return isOlder && !image.isAwaited && !isShared(image, images) && !needed.has(keyOf(image))
  })
}

/**
 * The least recently used images beyond so many bytes in all, none that an unfinished task was given. Layers that images share count once.
 * The most recently used one stays, however large it is: it was loaded because somebody wants it.
 */
export function planEviction(images: readonly ImageRecord[], tasks: readonly Pick<TaskRecord, 'order' | 'report'>[], limitBytes: number): ImageRecord[] {
  const needed = neededVersions(tasks)
  const byUse = images.toSorted((left, right) => (left.lastUsed < right.lastUsed ? -1 : 1))
  const evicted: ImageRecord[] = []
  for (const image of byUse.slice(0, -1)) {
    const kept = byUse.filter((other) => !evicted.includes(other))
    if (totalBytes(kept) <= limitBytes) break
    if (!needed.has(keyOf(image)) && !isShared(image, kept)) evicted.push(image)
  }
  return evicted
}

/** What versions take on the disk of the node, each layer once. */
export function totalBytes(images: readonly ImageRecord[]): number {
  const sizes = new Map(images.flatMap(({ imageId, layers, size }) => (layers.length > 0 ? layers.map((layer) => [layer.digest, layer.size] as const) : [[imageId, size] as const])))
  return [...sizes.values()].reduce((sum, size) => sum + size, 0)
}

/** The name of a version among all of a node. */
export function keyOf({ environment, version }: Pick<VersionOrder, 'environment' | 'version'>): string {
  return `${environment}-${version}`
}

// --- internal ---

async function removeImages(engine: CleanUpOptions['engine'], state: RunnerState, images: readonly ImageRecord[]): Promise<void> {
  for (const image of images) {
    // First forgotten, then removed: a task that comes in between finds it, or loads it again.
    await state.removeImage(image)
    try {
      await engine.removeImage(image.imageId)
    } catch (error) {
      await state.saveImage(image)
      if (!isHakuError(error, 'engine.conflict')) throw error
    }
  }
}

function neededVersions(tasks: readonly Pick<TaskRecord, 'order' | 'report'>[]): ReadonlySet<string> {
  return new Set(tasks.flatMap(({ order, report }) => (order.image && !isFinal(report.state) ? keyOf(order.image) : [])))
}

/** Packaging without a change gives the same image a second version. */
function isShared(image: ImageRecord, images: readonly ImageRecord[]): boolean {
  return images.some((other) => other.imageId === image.imageId && keyOf(other) !== keyOf(image))
}
