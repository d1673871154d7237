import { errorMessage } from '#core/errors.ts'
import { withSignal } from '../sync/sync.ts'
import { type CollectOptions, collectOutput } from './collect-output.ts'
import { endExecution } from './end-execution.ts'
import { type Ending, judgeEnd, wantedEnding } from './ending.ts'
import type { Executor, Exit, Found } from './executor.ts'
import type { OutputFiles } from './output-files.ts'
import { prepareOutput } from './prepare-output.ts'
import type { ExecutorServices } from './services.ts'
import { TaskFailure } from './task-failure.ts'
import type { TaskRun } from './task-run.ts'
import { enforceTimeLimit } from './time-limit.ts'

export interface ExecuteOptions {
  /** An earlier Runner had it. */
  recovered: boolean
  /** Resolves once no earlier execution of the same task runs here any more. */
  earlierEnded: Promise<unknown>
}

/**
 * Runs an execution to its end, or takes one up where an earlier Runner was cut off: output files → create → start → follow →
 * end. Reports each state. Never rejects; when the Runner stops, it lets go and reports nothing.
 */
export async function execute(run: TaskRun, executor: Executor, services: ExecutorServices, { recovered, earlierEnded }: ExecuteOptions): Promise<void> {
  try {
    const found = recovered ? await executor.find(run) : undefined
    if (!found && run.record.handle !== null) throw new TaskFailure('node_forgot', new Error('What ran the task was removed while the Runner was away.'))
    if (!found || found.status === 'created') await withSignal(earlierEnded, run.interrupted)
    await (found ? goOn(run, executor, services, found) : begin(run, executor, services))
  } catch (error) {
    if (services.closing.aborted) return
    run.report({ ...endingOf(run, error), finished: new Date().toISOString() })
  }
}

// --- internal ---

async function begin(run: TaskRun, executor: Executor, services: ExecutorServices): Promise<void> {
  run.interrupted.throwIfAborted()
  const files = await prepareOutput(run, services)
  try {
    if (run.record.order.instance > 1) await executor.removeEarlier(run)
    const found = await executor.create(run)
    if (found.status !== 'created') return await goOn(run, executor, services, found)
    // It is on the disk while it is being started.
    run.report({ state: 'starting', message: null })
    await start(run, executor, services, files)
  } finally {
    await files.close()
  }
}

/** Takes up what is there. Its output files hold what was kept of its output. */
async function goOn(run: TaskRun, executor: Executor, services: ExecutorServices, found: Found): Promise<void> {
  if (found.status === 'created') return start(run, executor, services, await prepareOutput(run, services))
  const started = run.record.report.started ?? found.started ?? new Date().toISOString()
  if (found.status === 'ended') run.record.report.started = started
  else run.report({ state: found.status, started, message: null })
  await followToEnd(run, executor, services, { live: undefined, finished: found.finished, hasEnded: found.status === 'ended' })
}

async function start(run: TaskRun, executor: Executor, services: ExecutorServices, files: OutputFiles): Promise<void> {
  try {
    run.ending.throwIfAborted()
    const stream = await executor.start(run)
    run.report({ state: 'running', started: new Date().toISOString(), message: null })
    await followToEnd(run, executor, services, { live: stream && { stream, files }, finished: null, hasEnded: false })
  } finally {
    await files.close()
  }
}

interface Follow {
  live: CollectOptions['live']
  /** When it ended, if that was before now. */
  finished: string | null
  hasEnded: boolean
}

async function followToEnd(run: TaskRun, executor: Executor, services: ExecutorServices, { live, finished, hasEnded }: Follow): Promise<void> {
  const ended = new AbortController()
  const over = AbortSignal.any([services.closing, ended.signal])
  const exited = executor.wait(run).finally(() => ended.abort())
  const end = () => void endExecution(run, executor, over)
  if (run.ending.aborted) end()
  else run.ending.addEventListener('abort', end, { once: true, signal: over })
  const [exit, { sizes, lost }] = await Promise.all([exited, collectOutput(run, services, { executor, exited, live }), hasEnded ? undefined : enforceTimeLimit(run, executor, services, over)])
  const at = finished ?? new Date().toISOString()
  run.report({ ...(await describeEnd(run, executor, { exit, sizes, lost })), finished: at, stdoutBytes: sizes.stdout, stderrBytes: sizes.stderr })
}

type End = { exit: Exit } & Awaited<ReturnType<typeof collectOutput>>

async function describeEnd(run: TaskRun, executor: Executor, { exit, sizes, lost }: End): Promise<Ending> {
  const { record } = run
  const exitCode = exit === 'gone' ? undefined : (exit.exitCode ?? undefined)
  const whyUnknown = exit !== 'gone' && exit.exitCode === null ? exit : undefined
  const note = exit !== 'gone' && exit.exitCode !== null ? exit.note : undefined
  const facts = { record, exitCode, whyUnknown, note, outOfMemory: false, commandFailure: undefined, lost: exit === 'gone' ? undefined : lost }
  if (!exitCode || record.wish === 'kill' || record.isTimedOut) return judgeEnd(facts)
  // Only a failure is looked into: a success has no time for it.
  const details = await executor.lookInto(run, { exitCode, sizes })
  if (details === 'gone') return judgeEnd({ ...facts, exitCode: undefined, lost: undefined })
  return judgeEnd({ ...facts, ...details, note: [note, details.note].filter(Boolean).join(' ') })
}

function endingOf(run: TaskRun, error: unknown): Ending {
  // What was to be ended need not have begun.
  if (run.ending.aborted) return wantedEnding(run.record, null)
  if (error instanceof TaskFailure) return { state: 'failed', reason: error.reason, message: error.message, exitCode: error.exitCode }
  console.error(`[hakuriver] [runner] task ${run.id} failed unexpectedly:`, error)
  return { state: 'failed', reason: 'engine_failed', message: errorMessage(error), exitCode: null }
}
