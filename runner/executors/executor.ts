import type { SignalName } from '#core/api/schemas.ts'
import type { OutputChunk } from '#core/engine/demultiplex.ts'
import type { TaskReason } from '#core/tasks/states.ts'
import type { TaskRecord } from '../state/state.ts'
import type { Positions } from './output-files.ts'
import type { TaskRun } from './task-run.ts'

/** What an executor has made for an execution. */
export interface Found {
  /** `created`: made and never started. */
  status: 'created' | 'running' | 'paused' | 'ended'
  /** ISO 8601; `null`: not known, or not yet. */
  started: string | null
  finished: string | null
}

/** How an execution came to its end. */
export type Exit =
  | {
      /** As a shell tells it: 128 + n for signal n. */
      exitCode: number
      /** What served the streams was away meanwhile, so they are not to be trusted: all output is read again. */
      interrupted: boolean
      /** What people should know of it beside its ending. */
      note?: string | undefined
    }
  /** It has ended and its output is all there, but its exit code is lost: `message` says why. `node_forgot` unless another reason is given. */
  | { exitCode: null; interrupted: false; message: string; reason?: TaskReason }
  /** What was made is not there any more, and nobody knows how it ended. */
  | 'gone'

/** The exit code of what SIGKILL has ended. */
export const KILLED = 137

/** Output as it comes. It MUST be read to its end or destroyed. */
export interface OutputStream {
  /** At the pace of the reader. Throws what cut it. */
  chunks: AsyncIterable<OutputChunk[]>
  destroy(): void
}

/** Why it failed, beyond its exit code. */
export interface EndDetails {
  /** It, or something that it started, was ended for want of memory. */
  outOfMemory: boolean
  /** What people should know of it beside its ending. */
  note?: string | undefined
  /** What was said about a command that could not be executed. */
  commandFailure?: string | undefined
}

/** Some of the output is gone for good. The message says why, as the end of "Output is missing: …". */
export class OutputLost extends Error {
  override readonly name = 'OutputLost'
}

/**
 * One way to execute tasks: in a container, in a container that tasks share, as a plain process. `execute.ts` calls the
 * steps in the order in which they stand here and does all that is alike: states and reports, output files, time limit,
 * kill, recovery.
 *
 * - The handle (`run.record.handle`) is the executor's own: `create` MUST set it when something was made that outlives the
 *   Runner. It is written to the disk while `start` is called, so a crash may lose it: `find` MUST also find by a name that follows from
 *   the execution. An execution with a handle that is not found has been removed behind our back, and never begins again.
 * - A method that needs something which is away for now (an Engine) MUST wait for it and `run.tell` meanwhile, and MUST
 *   let go when `run.interrupted` fires (before `start`) or `services.closing` (from `start` on), by throwing.
 * - What can not be done is thrown as a `TaskFailure`: the task ends as `failed` with its reason.
 * - All methods may be called again after a crash of the Runner at any point.
 */
export interface Executor {
  /**
   * Ends and removes what earlier instances of the same task have left here and nobody remembers, such as after the loss of the
   * state. Called before `create` of a second or later instance; those that are remembered have ended by then.
   */
  removeEarlier(run: TaskRun): Promise<void>
  /** What an earlier Runner made for it. MUST NOT find that of another instance. */
  find(run: TaskRun): Promise<Found | undefined>
  /** Everything before the start. If it finds that it was made before, it answers what became of that. */
  create(run: TaskRun): Promise<Found>
  /**
   * Starts what was created, once, however often the call to start it has to be repeated.
   *
   * @returns its output from the first byte on; `undefined`: read it with `readOutput`
   */
  start(run: TaskRun): Promise<OutputStream | undefined>
  /** Resolves once nothing of it runs any more. Throws only when the Runner stops. */
  wait(run: TaskRun): Promise<Exit>
  /**
   * Its output from the very first byte; `follow` goes on until it ends. Both channels MUST come back byte for byte the same each
   * time: what was kept before is skipped by its length. @throws {@link OutputLost}; other errors are tried again
   */
  readOutput(run: TaskRun, options: { follow: boolean }): Promise<OutputStream>
  /** Called after an exit code other than 0. `gone`: it turned out that it was removed by force. */
  lookInto(run: TaskRun, exit: { exitCode: number; sizes: Readonly<Positions> }): Promise<EndDetails | 'gone'>
  /** How long it has been running, in milliseconds, pauses included; by a clock that nobody sets where there is one. */
  runningMs(run: TaskRun): Promise<number>
  /** SIGKILL ends all that belongs to it. One that is paused is woken up. One that has ended or is gone is as good. */
  signal(run: TaskRun, signal: SignalName): Promise<void>
  /** @throws `engine.conflict`, `engine.failed`, `container.*` if it is not in the state for it */
  pause(run: TaskRun): Promise<void>
  resume(run: TaskRun): Promise<void>
  /** Removes what is left of an execution that has ended. Idempotent. What it throws is tried again later. */
  remove(record: TaskRecord): Promise<void>
}

/** The sorts of execution. */
export interface Executors {
  container: Executor
  /** Orders with a word in `pack`. */
  pack: Executor
  /** Orders without an image. */
  plain: Executor
}
