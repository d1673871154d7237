import type { RerunBody } from '#core/api/schemas.ts'
import { replaceVariables } from '#core/tasks/items.ts'
import type { Submitted } from './make-records.ts'
import { specOf, type TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/**
 * The submission that repeats a task, an item or a batch: the same version, command, variables, mounts and limits. What it had to wait for has
 * been, and is left out: dependencies, a time, a hold. Its form is not looked at again: it was accepted.
 */
export async function repetitionOf(task: TaskRecord, { latest, submitter, key }: RerunBody, store: Pick<TaskStore, 'queries'>): Promise<Submitted> {
  const { pinned: _pinned, kind: _kind, arrayIndexes, ...spec } = specOf(task)
  const { environment, version, priority, items } = task
  return {
    ...spec,
    ...(items ? await itemsOf(task, arrayIndexes, store) : { items: null, targets: task.target === null ? [] : [task.target], parallel: null, pack: false }),
    ...(task.index !== null && ownValues(task)),
    environment,
    ...(!latest && version !== null && { version }),
    priority,
    submitter,
    ...(key !== undefined && { key }),
    at: null,
    after: [],
    hold: false,
  }
}

// --- internal ---

async function itemsOf(batch: TaskRecord, arrayIndexes: string | null, { queries }: Pick<TaskStore, 'queries'>): Promise<Pick<Submitted, 'items' | 'targets'>> {
  if (batch.kind === 'targets') return { items: null, targets: (await queries.items(batch.number)).map(({ target }) => target) }
  const source = arrayIndexes === null ? (batch.items?.source ?? (await queries.byNumber(batch.number))?.items?.source ?? null) : { kind: 'array' as const, indexes: arrayIndexes }
  return { items: source, targets: batch.target === null ? [] : [batch.target] }
}

/** An item repeated alone is a task of its own, with the item's values. */
function ownValues({ command, env, variables, index }: TaskRecord): Pick<Submitted, 'command' | 'env'> {
  return { command: command.map((argument) => replaceVariables(argument, variables)), env: { ...env, ...variables, HAKURIVER_ARRAY_INDEX: String(index) } }
}
