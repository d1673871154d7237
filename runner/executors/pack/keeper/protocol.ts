import type { ErrorCode } from '#core/errors.ts'
import type { EndedProcess } from '../../../keeping/files.ts'
import type { OomMark } from '../oom-marks.ts'

/**
 * What the Runner and a keeper of items tell each other: a line of JSON each, while both live. What must outlive them is in
 * files of the item's directory (`processPaths`): `supervisor-1.json` names the keeper and the container, `started.json` the process, `stdout` and
 * `stderr` are what was printed, and `ended.json`, written last, is how it ended.
 */

/** How to start an agent in a container. */
export interface AgentLaunch {
  containerId: string
  /** argv, in the container. */
  command: string[]
  /** `UID[:GID]`; `null`: the image's. */
  user: string | null
  /** Directory of this machine that the container sees for its pipes. */
  pipes: string
}

/** Runner to keeper: start this, and keep what it prints. */
export interface ItemOrder {
  /** Of the item. It is there. */
  directory: string
  taskId: string
  command: string[]
  env: Record<string, string>
  workdir: string
  /** Of each channel; one more is kept, which tells that there was more. `null`: no limit. */
  maxOutputBytes: number | null
  mark: OomMark
}

/** `item` left out: see whether the agent comes up. */
export interface KeepRequest {
  request: number
  agent: AgentLaunch
  item?: ItemOrder
}

/** Keeper to Runner: it is done, or why not. */
export interface KeepAnswer {
  request: number
  error?: { code: ErrorCode; message: string }
  /** The command could not be started. */
  failure?: NonNullable<EndedProcess['failure']> & { exitCode: number | null }
}
