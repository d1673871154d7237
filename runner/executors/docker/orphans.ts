import type { Engine } from '#core/engine/engine.ts'
import { labels } from '#core/paths.ts'
import type { RunnerState } from '../state/state.ts'

export interface OrphanOptions {
  engine: Engine
  state: RunnerState
  /** Name of this node: another Runner on the same Engine owns its own containers. */
  hostname: string
}

/** Removes containers of tasks that this node's state does not know, such as after its loss. Resolves to their tasks' ids. */
export async function removeOrphans({ engine, state, hostname }: OrphanOptions): Promise<string[]> {
  const ours = await engine.listContainers({ [labels.task]: undefined, [labels.node]: hostname })
  const orphans = ours.flatMap(({ id, labels: found }) => {
    const task = found[labels.task] ?? ''
    return state.find(task) ? [] : [{ id, task }]
  })
  for (const { id, task } of orphans) {
    console.error(`[hakuriver] [runner] removing the container of task ${task}: neither this node's state nor the Host knows it`)
    await engine.removeContainer(id)
  }
  return orphans.map(({ task }) => task)
}
