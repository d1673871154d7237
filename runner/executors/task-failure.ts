import type { TaskReason } from '#core/tasks/states.ts'
import { errorMessage } from '#core/errors.ts'

/** A step that could not be done: the task ends as failed. */
export class TaskFailure extends Error {
  readonly reason: TaskReason
  readonly exitCode: number | null

  constructor(reason: TaskReason, cause: unknown, exitCode: number | null = null) {
    super(errorMessage(cause), { cause })
    this.name = 'TaskFailure'
    this.reason = reason
    this.exitCode = exitCode
  }
}
