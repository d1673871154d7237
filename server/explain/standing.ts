import type { TaskDetails } from '#core/api/schemas.ts'
import { isFinal, stateWords, type TaskState, taskStates } from '#core/tasks/states.ts'
import { plural } from '#core/words.ts'

/** One sentence about a task that does not wait for a place. */
export function describeStanding(task: TaskDetails): string {
  const sentence = task.items ? describeBatch(task.id, task.items) : describeTask(task)
  const told = task.message === null || (task.items && !isFinal(task.state)) ? '' : ` ${task.message}`
  return `${sentence}${task.wish === 'kill' && !isFinal(task.state) ? ' It was asked to end, and its node has not confirmed that yet.' : ''}${told}`
}

// --- internal ---

function describeTask({ state, node, environment, version, started, finished, exitCode }: TaskDetails): string {
  const on = node ?? 'its node'
  const at = finished === null ? '' : ` at ${finished}`
  switch (state) {
    case 'queued':
      return 'It is about to leave the queue.'
    case 'assigned':
      return `It was given to ${on}, which has not answered yet.`
    case 'syncing':
      return `${on} loads what it lacks of ${environment}, version ${version}.`
    case 'starting':
      return `${on} starts it.`
    case 'running':
      return `It runs on ${on}${started === null ? '' : ` since ${started}`}.`
    case 'paused':
      return `It is paused on ${on}, and keeps what it was given.`
    case 'succeeded':
      return `It succeeded${at}.`
    case 'failed':
      return `It failed${at}${exitCode === null ? '' : `, with exit code ${exitCode}`}.`
    case 'killed':
      return `It was killed${at}.`
    case 'out_of_memory':
      return `It was ended${at}: it needed more memory than its limit.`
    case 'timed_out':
      return `It was ended${at} by its time limit.`
    case 'lost':
      return `It was lost${at}, with ${on}.`
    default:
      return state satisfies never
  }
}

/** In the order of a task's life. Items that wait here are those of several targets: they wait for themselves. */
function describeBatch(id: string, { size, counts }: NonNullable<TaskDetails['items']>): string {
  const parts = taskStates.flatMap((state: TaskState) => ((counts[state] ?? 0) > 0 ? [`${counts[state]} ${stateWords(state)}`] : []))
  return `Its ${size} ${plural('item', size)}: ${parts.join(', ')}.${counts.queued ? ` Each waits for itself: see "hakuriver task explain ${id}.1" and so on.` : ''}`
}
