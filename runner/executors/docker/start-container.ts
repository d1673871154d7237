import type { Readable } from 'node:stream'
import type { Engine } from '#core/engine/engine.ts'
import { type HakuError, isHakuError } from '#core/errors.ts'
import type { TaskReason } from '#core/tasks/states.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { untilEngineAnswers } from './engine-retry.ts'
import { isHalfStarted } from './half-started.ts'

/**
 * Step: starts the container, once. Its output is attached before, to miss nothing.
 *
 * @returns the attached output; `undefined` if the Engine went away meanwhile and the container had started before that;
 * `half-started`: this container can never be started any more
 */
export async function startTaskContainer(run: TaskRun, { engine, closing }: { engine: Engine; closing: AbortSignal }, containerId: string): Promise<Readable | 'half-started' | undefined> {
  for (;;) {
    const stream = await untilEngineAnswers(run, closing, () => engine.attachOutput(containerId)).catch(asStartFailure)
    try {
      await engine.startContainer(containerId)
      return stream
    } catch (error) {
      stream.destroy()
      if (isHalfStarted(error)) return 'half-started'
      if (!isHakuError(error, 'engine.unavailable')) return asStartFailure(error)
    }
    // It may have started before the Engine's answer was lost, and it must not run twice.
    const found = await untilEngineAnswers(run, closing, () => engine.inspectContainer(containerId))
    if (found && found.status !== 'created') return undefined
  }
}

/** What an Engine says about a command that it can not execute. The shell's exit codes for both are well known. */
export function classifyStartFailure(words: string): { reason: TaskReason; exitCode: number | null } {
  if (/executable file not found|exec: .*no such file or directory|stat .*no such file or directory/i.test(words)) return { reason: 'command_not_found', exitCode: 127 }
  if (/exec: .*(?:permission denied|is a directory)|exec format error/i.test(words)) return { reason: 'command_not_found', exitCode: 126 }
  if (/argument list too long/i.test(words)) return { reason: 'command_not_found', exitCode: 126 }
  return { reason: 'start_failed', exitCode: null }
}

// --- internal ---

function asStartFailure(error: unknown): never {
  if (!isHakuError(error)) throw error
  if (error.code === 'container.not_found') throw new TaskFailure('node_forgot', goneError(error))
  const { reason, exitCode } = classifyStartFailure(error.message)
  throw new TaskFailure(reason, error, exitCode)
}

function goneError(cause: HakuError): Error {
  return new Error('The container of the task was removed behind our back.', { cause })
}
