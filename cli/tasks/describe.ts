import type { Explanation, Task, TaskDetails, TaskEvent } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { isFinal, mayComeBack } from '#core/tasks/states.ts'
import { formatFacts, formatTable, formatTime, localTimes } from '../framework/output.ts'
import { formatDuration } from '../values/durations.ts'
import { formatSync } from './format-sync.ts'
import { countsText } from './task-view.ts'

/** `ID running, kill asked for`: where a task stands after something was asked. `isOver`: nothing more will come of it. */
export function standingLine(task: Task, { isOver = false } = {}): string {
  return `${task.id} ${task.state}${isOver ? '' : wishText(task)}${task.items ? `: ${countsText(task.items)}` : ''}`
}

/** All about one task or batch, with what happened to it. */
export function describeTask(task: TaskDetails): string {
  const message = task.message && localTimes(task.message)
  const facts = formatFacts([
    ['Id', task.id],
    ['Name', task.name],
    ['State', `${task.sync ? formatSync(task.sync) : task.state}${wishText(task)}`],
    ['Reason', task.reason && (message ? `${task.reason}: ${message}` : task.reason)],
    ['Message', task.reason ? null : message],
    ['Exit code', task.exitCode],
    ['Batch', task.batch],
    ['Items', task.items && countsText(task.items)],
    ['Waiting', task.items?.pending ?? null],
    ['At a time', task.items?.parallel ?? null],
    ['Packed', task.items?.pack ? 'items on one node share a container' : null],
    ['Node', task.node],
    ['Target', task.target],
    ['Execution', task.instance || null],
    ['Environment', task.environment === null ? 'none: a plain process' : `${task.environment}, version ${task.version}`],
    ['Command', JSON.stringify(task.command)],
    ['Item', Object.entries(task.variables).map(([name, value]) => `${name}=${value}`).join(' ')],
    ['Variables', Object.keys(task.env).join(', ')],
    ['Mounts', task.mounts.join(', ')],
    ['Cores', task.cores],
    ['Memory', task.memoryBytes === null ? 'no limit' : formatSize(task.memoryBytes)],
    ['GPUs', gpuText(task)],
    ['User', task.user],
    ['Directory', task.workdir],
    ['Network', task.network],
    ['Privileged', task.privileged ? 'yes' : null],
    ['Priority', task.priority || null],
    ['Not before', task.at && formatTime(task.at)],
    ['After', task.after.map(({ on, task: id }) => `${on}:${id}`).join(', ')],
    ['Retries', task.retries || null],
    ['Time limit', task.timeLimitSeconds === null ? null : formatDuration(task.timeLimitSeconds)],
    ['Signal', `${task.signal}, ${formatDuration(task.graceSeconds)} before SIGKILL`],
    ['Notifies', task.notifyUrl],
    ['Submitter', task.submitter],
    ['Submitted', formatTime(task.submitted)],
    ['Started', task.started && formatTime(task.started)],
    ['Finished', task.finished && formatTime(task.finished)],
  ])
  return task.events.length === 0 ? facts : `${facts}\n\n${formatEvents(task.events)}`
}

/** Why a task waits: one sentence, what holds it, and each node. */
export function describeExplanation({ id, summary, place, waiting, reasons, nodes }: Explanation): string {
  const facts = formatFacts([
    ['Task', id],
    ['In short', localTimes(summary)],
    ['Place', place === null ? null : `${place} of ${waiting} that wait`],
    ...reasons.map(({ code, message }) => ['Because', `${code}: ${localTimes(message)}`] as [string, string]),
  ])
  if (nodes.length === 0) return facts
  return `${facts}\n\n${formatTable(['NODE', 'REASON', 'MESSAGE'], nodes.map(({ hostname, reason }) => [hostname, reason?.code ?? null, reason ? localTimes(reason.message) : 'It could start there.']))}`
}

// --- internal ---

function gpuText({ gpuIds, gpus, gpuMemoryBytes }: Task): string | null {
  if (gpuIds.length > 0) return `numbers ${gpuIds.join(', ')}`
  if (gpus === 0) return null
  return gpuMemoryBytes === null ? String(gpus) : `${gpus} with ${formatSize(gpuMemoryBytes)} each`
}

function formatEvents(events: readonly TaskEvent[]): string {
  return formatTable(['TIME', 'EVENT', 'BY', 'EXECUTION', 'NODE', 'MESSAGE'], events.map(({ time, event, by, instance, node, message }) => [formatTime(time), event, by, instance || null, node, message && localTimes(message)]))
}

/** What the user asked for that is not so yet. */
function wishText(task: Task): string {
  const { wish, state } = task
  // What is lost with a silent node may run on there; a batch does not say which of its items do.
  const isOutOfSight = mayComeBack(task) || (state === 'lost' && task.items !== null)
  if (wish === 'run' || (wish === 'pause' && state === 'paused') || (isFinal(state) && !(wish === 'kill' && isOutOfSight))) return ''
  return wish === 'hold' ? ', held' : `, ${wish} asked for`
}
