import type { SubmitBody, TaskEvent } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { countIndexes, firstIndexes, type IndexSet } from '#core/tasks/index-set.ts'
import { indexesOf } from '#core/tasks/items.ts'
import type { ResolvedVersion } from '../environments/versions.ts'
import { makeItem } from './items.ts'
import { type BatchRecord, makeRecord, type TaskRecord } from './task-record.ts'

/** A submission whose form was checked. Of a batch of targets that is repeated, any node may have some. */
export interface Submitted extends Omit<SubmitBody, 'targets'> {
  targets: readonly (string | null)[]
}

export interface Submission {
  body: Submitted
  /** `null`: no container. */
  resolved: ResolvedVersion | null
  /** Who submits. */
  by: string
  submitter: string
  nextNumber(items?: number): number
}

/** What a submission is to be: a task, or a batch and, where they differ in more than their variables, its items. */
export function makeRecords(submission: Submission): TaskRecord[] {
  const { body } = submission
  if (body.items) return [makeBatch(submission, body.items.kind, indexesOf(body.items))]
  if (body.targets.length < 2) return [{ ...makeTask(submission, submission.nextNumber()), target: body.targets[0] ?? null }]
  const batch = makeBatch(submission, 'targets', firstIndexes(body.targets.length))
  const items = body.targets.map((target, nth) => ({ ...makeItem(batch, batch.items, nth + 1), hasRow: true, target }))
  return [{ ...batch, target: null, items: { ...batch.items, pending: [] } }, ...items]
}

// --- internal ---

function makeBatch(submission: Submission, kind: NonNullable<TaskRecord['kind']>, indexes: IndexSet): TaskRecord & { items: BatchRecord } {
  const { items, targets } = submission.body
  const size = countIndexes(indexes)
  return {
    ...makeTask(submission, submission.nextNumber(size)),
    target: targets[0] ?? null,
    kind,
    arrayIndexes: items?.kind === 'array' ? items.indexes : null,
    items: { size, indexes, pending: indexes, unplaced: null, source: items && items.kind !== 'array' ? items : null, counts: null },
  }
}

function makeTask({ body, resolved, by, submitter }: Submission, number: number): TaskRecord {
  const submitted = new Date().toISOString()
  const event: TaskEvent = { time: submitted, event: 'submitted', by, instance: 0, node: null, message: null }
  return makeRecord(body, {
    pinned: resolved?.pinned ?? null,
    kind: null,
    arrayIndexes: null,
    number,
    hasRow: true,
    id: createId(),
    batch: null,
    index: null,
    variables: {},
    items: null,
    state: 'queued',
    wish: body.hold ? 'hold' : 'run',
    reason: null,
    message: null,
    exitCode: null,
    instance: 0,
    node: null,
    target: null,
    environment: body.environment,
    version: resolved?.version ?? null,
    submitter,
    priority: body.priority,
    rank: number,
    retriesLeft: body.retries,
    notBefore: body.at === null ? null : Date.parse(body.at),
    gpuIds: [],
    numaNode: null,
    sync: null,
    submitted,
    started: null,
    finished: null,
    sequence: 0,
    stdoutBytes: null,
    stderrBytes: null,
    events: [event],
  })
}
