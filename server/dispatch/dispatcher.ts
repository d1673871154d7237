import type { Readable } from 'node:stream'
import type { Execution, PrefetchState, TaskOrder, TaskReport, VersionOrder } from '#core/api/schemas.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'

/**
 * How tasks reach the place where they run. Our Runners are one such place; the queue knows nothing else of them.
 *
 * All methods MUST be safe to repeat: the queue repeats them until it has an answer. They throw `node.unreachable` when
 * the node did not answer (it may still have heard), and any other `HakuError` when it refused.
 */
export interface Dispatcher {
  /** Resolves to what the node knows of the task, once it has stored the order. */
  run(node: string, order: TaskOrder): Promise<TaskReport>
  /** @throws `task.not_found` if the node never got this execution */
  kill(node: string, execution: Execution): Promise<TaskReport>
  pause(node: string, execution: Execution): Promise<TaskReport>
  resume(node: string, execution: Execution): Promise<TaskReport>
  /** What an execution has printed so far, as its node sees it: for a Host that does not see the shared directory. */
  readOutput(node: string, request: OutputRequest, signal: AbortSignal): Promise<NodeOutput>
  /** Loads a version without a task; resolves when it is there, or after some time to how far it is. @throws what hinders the node */
  prefetch(node: string, order: VersionOrder, signal: AbortSignal): Promise<PrefetchState>
  cancelPrefetch(node: string, order: VersionOrder): Promise<void>
  close(): void
}

export interface OutputRequest extends Execution {
  stream: OutputChannel
  /** First byte. */
  offset: number
  /** Instead: so many lines from the end. */
  tail?: number | undefined
}

export interface NodeOutput {
  /** Where `bytes` begin. */
  offset: number
  bytes: Readable
}
