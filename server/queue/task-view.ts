import type { Task, TaskDetails } from '#core/api/schemas.ts'
import { formatIndexes } from '#core/tasks/index-set.ts'
import type { StateCounts, TaskRecord } from './task-record.ts'

/** The API's object. `counts`: of a batch's items. */
export function toTask(record: TaskRecord, counts: StateCounts | null): Task {
  const { id, name, submitter, batch, index, variables, state, wish, reason, message, exitCode, instance, node, target, environment, version, command, env, mounts, cores, memoryBytes, gpus, gpuMemoryBytes, gpuIds, user, workdir, network, privileged, priority, at, after, retries, timeLimitSeconds, signal, graceSeconds, notifyUrl, sync, submitted, started, finished } = record
  const { items, kind, parallel, pack } = record
  return {
    id, name, submitter, batch, index, variables,
    items: items && { kind: kind ?? 'array', size: items.size, parallel, pack, pending: formatIndexes(items.pending), counts: counts ?? items.counts ?? {} },
    state, wish, reason, message, exitCode, instance, node, target, environment, version, command, env, mounts, cores, memoryBytes, gpus, gpuMemoryBytes, gpuIds: [...gpuIds], user, workdir, network, privileged, priority, at, after, retries, timeLimitSeconds, signal, graceSeconds, notifyUrl, sync, submitted, started, finished,
  }
}

export function toDetails(record: TaskRecord, counts: StateCounts | null): TaskDetails {
  return { ...toTask(record, counts), events: [...record.events] }
}
