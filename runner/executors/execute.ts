import { errorMessage } from '#core/errors.ts'
import { collectOutput } from './collect-output.ts'
import { createTaskContainer, findTaskContainer, type TaskContainer } from './create-container.ts'
import { type Ending, judgeEnd, readInitFailure } from './ending.ts'
import { untilEngineAnswers } from './engine-retry.ts'
import { type Exit, waitForExit } from './exit.ts'
import type { OutputFiles } from './output-files.ts'
import { prepareOutput } from './prepare-output.ts'
import type { ExecutorServices } from './services.ts'
import { startTaskContainer } from './start-container.ts'
import { stopTask } from './stop-task.ts'
import { TaskFailure } from './task-failure.ts'
import type { TaskRun } from './task-run.ts'

/**
 * Runs a task to its end, or takes one up where an earlier Runner was cut off: output files → image → container → attach →
 * start → follow → end. Reports each state. Never rejects; when the Runner stops, it lets go and reports nothing.
 */
export async function execute(run: TaskRun, services: ExecutorServices, { recovered }: { recovered: boolean }): Promise<void> {
  try {
    const container = recovered ? await findTaskContainer(run, services) : undefined
    if (container) await goOn(run, services, container)
    else if (run.record.containerId !== null) throw new TaskFailure('node_forgot', new Error('The container of the task was removed while the Runner was away.'))
    else await begin(run, services)
  } catch (error) {
    if (services.closing.aborted) return
    run.report({ ...endingOf(run, error), finished: new Date().toISOString() })
  }
}

// --- internal ---

async function begin(run: TaskRun, services: ExecutorServices): Promise<void> {
  run.interrupted.throwIfAborted()
  const files = await prepareOutput(run, services)
  try {
    const container = await createTaskContainer(run, services)
    run.record.containerId = container.id
    if (container.status !== 'created') return await goOn(run, services, container)
    // It is on the disk while the Engine is busy with the start.
    run.report({ state: 'starting', message: null })
    await start(run, services, { container, files })
  } finally {
    await files.close()
  }
}

/** Takes up a container that is there. Its output files hold what was kept of its log. */
async function goOn(run: TaskRun, services: ExecutorServices, container: TaskContainer): Promise<void> {
  run.record.containerId = container.id
  if (container.status === 'created') return start(run, services, { container, files: await prepareOutput(run, services) })
  const started = run.record.report.started ?? container.started ?? new Date().toISOString()
  if (container.status === 'running' || container.status === 'paused') run.report({ state: container.status, started, message: null })
  else run.record.report.started = started
  await followToEnd(run, services, { containerId: container.id, live: undefined, finished: container.finished })
}

async function start(run: TaskRun, services: ExecutorServices, { container, files }: { container: TaskContainer; files: OutputFiles }): Promise<void> {
  try {
    run.killed.throwIfAborted()
    const stream = await startTaskContainer(run, services, container.id)
    run.report({ state: 'running', started: new Date().toISOString(), message: null })
    await followToEnd(run, services, { containerId: container.id, live: stream && { stream, files }, finished: null })
  } finally {
    await files.close()
  }
}

interface Follow {
  containerId: string
  live: Parameters<typeof collectOutput>[2]['live']
  /** When it ended, if that was before now. */
  finished: string | null
}

async function followToEnd(run: TaskRun, services: ExecutorServices, { containerId, live, finished }: Follow): Promise<void> {
  const exited = waitForExit(run, services, containerId)
  const stopped = new AbortController()
  const stop = () => void stopTask(run, services, containerId).catch((error: unknown) => {
    if (!services.closing.aborted) run.tell(`The task could not be ended: ${errorMessage(error)}`)
  })
  if (run.killed.aborted) stop()
  else run.killed.addEventListener('abort', stop, { once: true, signal: stopped.signal })
  try {
    const [exit, { sizes, lost }] = await Promise.all([exited, collectOutput(run, services, { containerId, exited, live })])
    const end = finished ?? new Date().toISOString()
    const ending = await describeEnd(run, services, { containerId, exit, sizes, lost })
    run.report({ ...ending, finished: end, stdoutBytes: sizes.stdout, stderrBytes: sizes.stderr })
  } finally {
    stopped.abort()
  }
}

type End = { containerId: string; exit: Exit } & Awaited<ReturnType<typeof collectOutput>>

async function describeEnd(run: TaskRun, services: ExecutorServices, { containerId, exit, sizes, lost }: End): Promise<Ending> {
  const { wish, order } = run.record
  const exitCode = exit === 'gone' ? undefined : exit.exitCode
  const facts = { wish, exitCode, memoryBytes: order.memoryBytes, lost: exit === 'gone' ? undefined : lost }
  if (!exitCode || wish === 'kill') return judgeEnd({ ...facts, outOfMemory: false, initFailure: undefined })
  // Only a failure is looked into: a success has no time for it.
  const details = await untilEngineAnswers(run, services.closing, () => services.engine.inspectContainer(containerId))
  // Removing it by force ends it first, with an exit code that is none of the task's.
  if (!details || details.status === 'removing') return judgeEnd({ ...facts, exitCode: undefined, lost: undefined, outOfMemory: false, initFailure: undefined })
  const initFailure = await readInitFailure(exitCode, sizes, services.paths.stderr(run.id))
  return judgeEnd({ ...facts, outOfMemory: details.outOfMemory, initFailure })
}

function endingOf(run: TaskRun, error: unknown): Ending {
  if (run.killed.aborted && !(error instanceof TaskFailure)) return { state: 'killed', reason: 'user', message: null, exitCode: null }
  if (error instanceof TaskFailure) return { state: 'failed', reason: error.reason, message: error.message, exitCode: error.exitCode }
  console.error(`[hakuriver] [runner] task ${run.id} failed unexpectedly:`, error)
  return { state: 'failed', reason: 'engine_failed', message: errorMessage(error), exitCode: null }
}
