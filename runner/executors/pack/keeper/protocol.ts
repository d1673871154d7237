import type { ErrorCode } from '#core/errors.ts'

/**
 * What the Runner and a keeper of items tell each other: a line of JSON each, while both live. What must outlive them is in
 * files of the item's directory (`processPaths`): `supervisor-1.json` names the keeper, `stdout` and `stderr` are what was
 * printed, and `ended.json`, written last, is how it ended.
 */

/** Runner to keeper: start this, and keep what it prints. */
export interface KeepOrder {
  /** Of the item. It is there. */
  directory: string
  containerId: string
  /** The process that the Engine has made and not started. */
  execId: string
  /** Of the item. */
  taskId: string
  /** Of each channel; one more is kept, which tells that there was more. `null`: no limit. */
  maxOutputBytes: number | null
}

/** Keeper to Runner: it was started, or why not. */
export interface KeepAnswer {
  directory: string
  error: { code: ErrorCode; message: string } | null
}
