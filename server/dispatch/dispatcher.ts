import type { PrefetchState, TaskOrder, TaskReport, VersionOrder } from '#core/api/schemas.ts'

/**
 * How tasks reach the place where they run. Our Runners are one such place; the queue knows nothing else of them.
 *
 * All methods MUST be safe to repeat: the queue repeats them until it has an answer. They throw `node.unreachable` when
 * the node did not answer (it may still have heard), and any other `HakuError` when it refused.
 */
export interface Dispatcher {
  /** Resolves to what the node knows of the task, once it has stored the order. */
  run(node: string, order: TaskOrder): Promise<TaskReport>
  /** @throws `task.not_found` if the node never got it */
  kill(node: string, taskId: string): Promise<TaskReport>
  pause(node: string, taskId: string): Promise<TaskReport>
  resume(node: string, taskId: string): Promise<TaskReport>
  /** Loads a version without a task; resolves when it is there, or after some time to how far it is. @throws what hinders the node */
  prefetch(node: string, order: VersionOrder, signal: AbortSignal): Promise<PrefetchState>
  cancelPrefetch(node: string, order: VersionOrder): Promise<void>
  close(): void
}
