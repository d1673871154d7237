import type { EndedProcess } from '../../../keeping/files.ts'

/** What a keeper and its agent in a container tell each other: a line of JSON each, over the agent's input and output. */

/** Keeper to agent: start this. All paths are those of the container. */
export interface AgentOrder {
  /** Counts the items of this agent. */
  item: number
  /** argv. No shell touches it. */
  command: string[]
  /** Beside what the container has. */
  env: Record<string, string>
  workdir: string
  /** Named pipes. */
  stdout: string
  stderr: string
  /** See `OomMark`. */
  oomScore: number | null
}

/** Agent to keeper. `ready` comes first; of each item either `failure`, or `pid` and later `exitCode`. */
export type AgentEvent =
  | { ready: true }
  | { item: number; failure: NonNullable<EndedProcess['failure']> & { exitCode: number | null } }
  /** As the container counts. */
  | { item: number; pid: number }
  /** As a shell tells it: 128 + n for signal n. */
  | { item: number; exitCode: number }
