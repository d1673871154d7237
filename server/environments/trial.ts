import { type CreateVersionBody, submitBody, type Task } from '#core/api/schemas.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { tarballFileName } from '#core/paths.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { isFinal, stateWords } from '#core/tasks/states.ts'
import type { OperationContext } from '../operations/operations.ts'
import type { Output } from '../output/output.ts'
import type { Tasks } from '../queue/tasks.ts'
import type { VersionMarks } from './marks.ts'
import type { Versions } from './versions.ts'

/** A new version is tried on a node before anybody else is given it: until then it is a candidate, which is never current. */
export interface Trials {
  /** Before the version is published: nobody gets it unless it has passed. Does nothing without a test. */
  announce(trial: Trial): Promise<void>
  /**
   * Runs the test, once the version is published. If it fails, is cancelled or can not be run, the version is removed again, and all is as before.
   *
   * @throws `version.test_failed`
   */
  run(trial: Trial, context: OperationContext): Promise<void>
  /** The version was not published after all. */
  withdraw(trial: Trial): Promise<void>
  /** At the start of a Host: ends the trials that a crash left, with their tasks and their versions. */
  recover(): Promise<void>
}

export interface Trial {
  environment: string
  version: number
  test: CreateVersionBody['test']
}

export interface TrialsOptions {
  tasks: Pick<Tasks, 'submit' | 'get' | 'kill'>
  output: Pick<Output, 'tail'>
  versions: Versions
  marks: VersionMarks
}

export function createTrials({ tasks, output, versions, marks }: TrialsOptions): Trials {
  async function settled(id: string, context: OperationContext): Promise<Task> {
    for (let waitSeconds = 0; ; waitSeconds = POLL_SECONDS) {
      const task = await tasks.get(id, waitSeconds, context.signal)
      context.signal.throwIfAborted()
      if (isFinal(task.state)) return task
      await context.report({ phase: 'test', message: `task ${id} is ${task.state}${task.message ? `: ${task.message}` : ''}` })
    }
  }

  async function kill(id: string): Promise<void> {
    try {
      await tasks.kill(id)
    } catch (error) {
      if (!isHakuError(error, 'task.finished')) throw error
    }
  }

  async function failureOf({ environment, version }: Trial, task: Task): Promise<HakuError> {
    const how = task.state === 'failed' && task.exitCode !== null ? `ended with code ${task.exitCode}` : `${stateWords(task.state)}${task.message ? ` (${task.message})` : ''}`
    const [stdout, stderr] = await Promise.all([lastLines(output, task.id, 'stdout'), lastLines(output, task.id, 'stderr')])
    const said = [stdout, stderr].filter(Boolean).join('\n')
    return new HakuError('version.test_failed', `The test of ${tarballFileName(environment, version)} failed: task ${task.id} ${how}. The version was removed, and ${environment} is as it was before. All output: "hakuriver task stdout ${task.id}" and "hakuriver task stderr ${task.id}".${said ? ` Its last lines:\n${said}` : ' It printed nothing.'}`)
  }

  /** Tasks of a candidate are its test, and whoever asked for it by its number. */
  async function remove(environment: string, version: number): Promise<void> {
    for (const { id } of versions.tasksOf(environment, version)) await kill(id)
    await versions.remove(environment, version, { evenIfNeeded: true })
  }

  async function tryOut({ environment, version, test = '' }: Trial, context: OperationContext): Promise<Task> {
    await context.report({ phase: 'test', bytes: null, totalBytes: null, message: 'waiting for a node' })
    const { tasks: [task] } = await tasks.submit(submitBody.parse({ command: ['/bin/sh', '-c', test], environment, version }))
    if (!task) throw new HakuError('internal.error', 'submitting the test made no task')
    try {
      return await settled(task.id, context)
    } catch (error) {
      await kill(task.id)
      // A node that does not answer ends it when it is back.
      await tasks.get(task.id, KILL_SECONDS)
      throw error
    }
  }

  return {
    async announce({ environment, version, test }) {
      if (test !== undefined) await marks.set(environment, version, { isCandidate: true })
    },
    async run(trial, context) {
      const { environment, version, test } = trial
      if (test === undefined) return
      try {
        const task = await tryOut(trial, context)
        if (task.state !== 'succeeded') throw await failureOf(trial, task)
      } catch (error) {
        await remove(environment, version).catch((failure: unknown) => {
          // It stays a candidate, so nobody is given it; the next start of the Host removes it.
          console.error(`[hakuriver] [trial] ${tarballFileName(environment, version)} could not be removed after its test: ${errorMessage(failure)}`)
        })
        throw error
      }
      await marks.set(environment, version, { isCandidate: false })
    },
    async withdraw({ environment, version, test }) {
      if (test !== undefined) await marks.forget(environment, version)
    },
    async recover() {
      for (const { environment, version } of marks.candidates()) {
        try {
          await remove(environment, version)
          console.error(`[hakuriver] [trial] removed ${tarballFileName(environment, version)}: its test was interrupted by a stop of the Host`)
        } catch (error) {
          console.error(`[hakuriver] [trial] ${tarballFileName(environment, version)}, whose test was interrupted, could not be removed; it stays unused: ${errorMessage(error)}`)
        }
      }
    },
  }
}

// --- internal ---

/** Between two looks at what the task waits for. Its end is seen at once. */
const POLL_SECONDS = 2
const KILL_SECONDS = 20
const LAST_LINES = 10

async function lastLines(output: Pick<Output, 'tail'>, id: string, stream: OutputChannel): Promise<string> {
  try {
    return (await output.tail(id, stream, 4096)).trimEnd().split('\n').slice(-LAST_LINES).join('\n')
  } catch (error) {
    // The reason of the failure is not lost for that of its output.
    return `(${errorMessage(error)})`
  }
}
