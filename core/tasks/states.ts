/**
 * The life of a task, as data.
 *
 * Three things are kept apart: what the user wants ({@link TaskWish}), what was observed ({@link TaskState}), and why
 * ({@link TaskReason}). The diagram is in `docs/tasks.md`.
 */

export const taskStates = ['queued', 'assigned', 'syncing', 'starting', 'running', 'paused', 'succeeded', 'failed', 'killed', 'out_of_memory', 'timed_out', 'lost'] as const
export type TaskState = (typeof taskStates)[number]

/** As people read it: `out of memory`. */
export function stateWords(state: TaskState): string {
  return state.replaceAll('_', ' ')
}

/** `hold`: stays in the queue until it is released. */
export const taskWishes = ['run', 'hold', 'pause', 'kill'] as const
export type TaskWish = (typeof taskWishes)[number]

export const taskReasons = ['exited', 'command_not_found', 'sync_failed', 'start_failed', 'output_failed', 'user', 'memory_limit', 'time_limit', 'dependency', 'items', 'node_unreachable', 'node_removed', 'node_forgot', 'node_refused', 'engine_failed'] as const
/** Why a task is in the state it is in. `null` while all goes its way. */
export type TaskReason = (typeof taskReasons)[number]

const ENDINGS = ['succeeded', 'failed', 'killed', 'out_of_memory', 'timed_out', 'lost'] as const satisfies TaskState[]

/**
 * From → to. A Runner reports what it sees, and a report may be late or skip states (a task can end before the Host heard
 * that it started), so every live state reaches every later one. `lost` is an ending that contact with the node revokes.
 * Back to `queued` goes what is tried again: by `--retry` from a live state, by `task retry` from an ending.
 */
const transitions: Record<TaskState, readonly TaskState[]> = {
  // `running`, `succeeded`: of a batch, which is never given to a node itself.
  queued: ['assigned', 'running', 'succeeded', 'killed', 'failed'],
  assigned: ['queued', 'syncing', 'starting', 'running', 'paused', ...ENDINGS],
  syncing: ['queued', 'starting', 'running', 'paused', ...ENDINGS],
  starting: ['queued', 'running', 'paused', ...ENDINGS],
  running: ['queued', 'paused', ...ENDINGS],
  paused: ['queued', 'running', ...ENDINGS],
  succeeded: [],
  failed: ['queued'],
  killed: ['queued'],
  out_of_memory: ['queued'],
  timed_out: ['queued'],
  lost: ['queued', 'syncing', 'starting', 'running', 'paused', 'succeeded', 'failed', 'killed', 'out_of_memory', 'timed_out'],
}

/** Whether a task may go from one state to another. */
export function canTransition(from: TaskState, to: TaskState): boolean {
  return transitions[from].includes(to)
}

const FINAL: ReadonlySet<TaskState> = new Set<TaskState>(ENDINGS)

/** Whether waiting for the task is over. */
export function isFinal(state: TaskState): boolean {
  return FINAL.has(state)
}

/** Lost with its node, and maybe only out of sight: what it reserved there stays reserved until the node has told. */
export function mayComeBack({ state, reason, node }: { state: TaskState; reason: TaskReason | null; node: string | null }): boolean {
  return state === 'lost' && reason === 'node_unreachable' && node !== null
}

/** Whether the task holds what it reserved on its node: from acceptance by the scheduler to its end, paused included. */
export function holdsResources(state: TaskState): boolean {
  return state !== 'queued' && !isFinal(state)
}
