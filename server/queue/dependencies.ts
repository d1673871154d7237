import type { Dependency, WaitingReason } from '#core/api/schemas.ts'
import { isFinal, stateWords } from '#core/tasks/states.ts'
import { createTurns } from '../turns.ts'
import { batchIdOf, type TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Tasks that wait for others. */
export interface Dependencies {
  /** What a task that waits for others waits for; `null`: for nobody any more. */
  reasonOf(task: Pick<TaskRecord, 'id' | 'batch'>): WaitingReason | null
  /** What a task that is not in the queue would wait for of others; `null`: for nobody. */
  reasonFor(after: readonly Dependency[]): Promise<WaitingReason | null>
  close(): void
}

export interface DependenciesOptions {
  store: TaskStore
  /** What it waits for can not come true any more. */
  fail(id: string, message: string): Promise<unknown>
  /** A task waits for nobody any more. */
  onFree(): void
}

export function createDependencies({ store, fail, onFree }: DependenciesOptions): Dependencies {
  /** Those that wait → why, as far as they were looked at; `null`: for nobody. */
  const reasons = new Map<string, WaitingReason | null>()
  /** What is waited for → who waits. */
  const dependents = new Map<string, Set<string>>()
  /** What was found out last counts. */
  const turns = createTurns()

  function watch(task: TaskRecord): void {
    if (task.after.length === 0 || task.batch !== null || reasons.has(task.id)) return
    // What has begun once waits for nobody any more, also when it is executed again.
    if (task.instance > 0 || (task.items !== null && task.started !== null)) {
      reasons.set(task.id, null)
      return
    }
    reasons.set(task.id, LOOKING)
    // What becomes of an item without a row is told by its batch.
    const watched = task.after.flatMap(({ task: id }) => [id, batchIdOf(id) ?? id])
    for (const id of watched) dependents.set(id, (dependents.get(id) ?? new Set()).add(task.id))
    look(task.id)
  }

  function look(id: string): void {
    void store.untilWritten(`what has become of what task ${id} waits for could not be stored`, () => turns.take(id, () => assess(id)))
  }

  function forget(task: TaskRecord): void {
    reasons.delete(task.id)
    for (const id of task.after.flatMap(({ task: each }) => [each, batchIdOf(each) ?? each])) {
      const waiting = dependents.get(id)
      waiting?.delete(task.id)
      if (waiting?.size === 0) dependents.delete(id)
    }
  }

  async function judgeAll(after: readonly Dependency[]): Promise<(Unmet | null)[]> {
    return Promise.all(after.map(async (dependency) => judge(dependency, await store.settled(dependency.task), store.live.hasLost(dependency.task))))
  }

  async function assess(id: string): Promise<void> {
    const task = store.live.get(id)
    if (!task || !reasons.has(id)) return
    const verdicts = await judgeAll(task.after)
    const impossible = verdicts.find((verdict) => verdict?.isImpossible)
    if (impossible) {
      // It is forgotten once it has ended: until then this may be tried again.
      await fail(id, impossible.message)
      return
    }
    const reason = firstReason(verdicts)
    reasons.set(id, reason)
    if (!reason) onFree()
  }

  const onAdded = (tasks: readonly TaskRecord[]) => {
    for (const task of tasks) watch(task)
  }
  const onChange = (after: TaskRecord, before: TaskRecord) => {
    if (after.after.length > 0 && after.batch === null) {
      if (isFinal(after.state)) forget(after)
      else if (isFinal(before.state)) {
        watch(after)
        if (reasons.get(after.id) === null) onFree()
      }
    }
    if (after.state === before.state && after.reason === before.reason) return
    // A batch that is lost stays so while its items are given up.
    const others = after.batch !== null && before.state === 'lost' && after.state === 'lost' ? (dependents.get(after.batch) ?? []) : []
    for (const id of [...(dependents.get(after.id) ?? []), ...others]) look(id)
  }
  store.changes.on('added', onAdded)
  store.changes.on('change', onChange)
  for (const task of store.live.values()) watch(task)

  return {
    reasonOf({ id, batch }) {
      const reason = reasons.get(batch ?? id)
      return reason === undefined ? LOOKING : reason
    },
    reasonFor: async (after) => firstReason(await judgeAll(after)),
    close() {
      store.changes.off('added', onAdded)
      store.changes.off('change', onChange)
    },
  }
}

// --- internal ---

const LOOKING: WaitingReason = { code: 'dependency', message: 'Waits for other tasks.' }

interface Unmet {
  isImpossible: boolean
  message: string
}

/** What can not come true any more goes first. */
function firstReason(verdicts: readonly (Unmet | null)[]): WaitingReason | null {
  const unmet = verdicts.find((verdict) => verdict?.isImpossible) ?? verdicts.find((verdict) => verdict !== null)
  return unmet ? { code: 'dependency', message: unmet.message } : null
}

/** `null`: it has come true. A task that is only out of sight may still come back and succeed. */
function judge({ on, task: id }: Dependency, task: TaskRecord | undefined, hasLost: boolean): Unmet | null {
  if (!task) return { isImpossible: true, message: `The task ${id}, which it was to wait for, is not known any more.` }
  const { state } = task
  const wanted = on === 'ok' ? 'succeed' : on === 'fail' ? 'fail' : 'end'
  if (!isFinal(state)) return { isImpossible: false, message: `Waits for the task ${id} to ${wanted}; it is ${stateWords(state)}.` }
  const isMet = on === 'any' || (on === 'ok') === (state === 'succeeded')
  if (isMet) return null
  if (hasLost) return { isImpossible: false, message: `Waits for the task ${id} to ${wanted}; it is lost with its node, and may come back with it.` }
  return { isImpossible: true, message: `It was to run once the task ${id} would ${wanted}, and that one ended: ${stateWords(state)}.` }
}
