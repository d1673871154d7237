import type { Engine } from '#core/engine/engine.ts'
import { labels } from '#core/paths.ts'
import type { RunnerState } from '../../state/state.ts'
import { instanceOf } from './create-container.ts'

export interface OrphanOptions {
  engine: Engine
  state: RunnerState
  /** Name of this node: another Runner on the same Engine owns its own containers. */
  hostname: string
}

/**
 * Removes containers of executions that this node's state does not know or has done with, such as after its loss, or when the Engine made a
 * container although the call for it failed. Resolves to their tasks' ids.
 */
export async function removeOrphans({ engine, state, hostname }: OrphanOptions): Promise<string[]> {
  const ours = await engine.listContainers({ [labels.task]: undefined, [labels.node]: hostname })
  const orphans = ours.flatMap((container) => {
    const task = container.labels[labels.task] ?? ''
    const record = state.find({ id: task, instance: instanceOf(container) })
    return record && record.released === null ? [] : [{ id: container.id, task }]
  })
  for (const { id, task } of orphans) {
    console.error(`[hakuriver] [runner] removing a container of task ${task}: neither this node's state nor the Host knows it`)
    await engine.removeContainer(id)
  }
  return orphans.map(({ task }) => task)
}
