import type { Engine } from '#core/engine/engine.ts'
import { isHakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { RunnerState, TaskRecord } from '../state/state.ts'
import type { ImageRow } from '../state/tables.ts'

/** Images of versions that have a newer one here, and that no unfinished task was given. */
export function planSuperseded(images: readonly ImageRow[], tasks: readonly Pick<TaskRecord, 'order' | 'report'>[]): ImageRow[] {
  const needed = new Set(tasks.filter(({ report }) => !isFinal(report.state)).map(({ order }) => `${order.environment}-${order.version}`))
  return images.filter(({ environment, version, image_id: id }) => {
    const isOlder = images.some((other) => other.environment === environment && other.version > version)
    // Packaging without a change gives the same image a second version.
    const isShared = images.some((other) => other.image_id === id && (other.environment !== environment || other.version !== version))
    return isOlder && !isShared && !needed.has(`${environment}-${version}`)
  })
}

/** Removes what {@link planSuperseded} names. What a container still uses stays until a later try. */
export async function removeSuperseded(engine: Engine, state: RunnerState): Promise<void> {
  for (const image of planSuperseded(state.listImages(), state.list())) {
    // First forgotten, then removed: a task that comes in between finds it, or loads it again.
    await state.removeImage(image)
    try {
      await engine.removeImage(image.image_id)
    } catch (error) {
      await state.saveImage(image)
      if (!isHakuError(error, 'engine.conflict')) throw error
    }
  }
}
