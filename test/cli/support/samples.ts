import type { BatchItems, Container, Environment, Gpu, Node, Operation, Task, Version } from '#core/api/schemas.ts'

export const container: Container = { id: 'abcdef0123456789abcdef', name: 'my-env', image: 'ubuntu:22.04', status: 'running', created: '2026-02-03T04:05:06.000Z' }

export const version: Version = { environment: 'my-env', version: 1_700_000_000, fileName: 'my-env-1700000000.tar', created: '2026-02-03T04:05:06.000Z', size: 1_060_000, author: null, note: null, baseImage: null, configDigest: null, newBytes: null, restores: null, current: true, pinned: false, candidate: false, damage: null, nodes: [], tasks: [] }

export const environment: Environment = { name: 'my-env', latest: version, older: [{ ...version, version: 1_600_000_000, fileName: 'my-env-1600000000.tar', current: false, pinned: true }] }

export const operation: Operation = {
  id: '01operation', kind: 'create_version', environment: 'my-env', state: 'running', created: '2026-02-03T04:05:06.000Z', finished: null, result: null, error: null,
  progress: { phase: 'stop', bytes: null, totalBytes: null, message: 'stopping the container' },
}

export const node: Node = {
  hostname: 'node1', url: 'http://10.0.0.1:8001', state: 'online', lastHeartbeat: '2026-02-03T04:05:06.000Z', cores: 8, coresReserved: 2, memoryBytes: 16e9, memoryReservedBytes: 1e9,
  usage: { cpuPercent: 12.4, memoryUsedBytes: 2e9 }, engine: { version: '28.0.0', storageDriver: 'overlay2', architecture: 'x86_64' }, runnerVersion: '1.0.0', images: [{ environment: 'my-env', version: 1_700_000_000 }],
  numaNodes: [], gpus: [], gpusReserved: [], plainProcesses: false, drained: null, tasks: 0,
}

export const gpu: Gpu = { id: 0, uuid: 'GPU-1', name: 'NVIDIA H100', memoryBytes: 80e9, numaNode: 0 }

export const task: Task = {
  id: '01aaaaaaaaaaaaaaaaaaaaaaaa', state: 'queued', wish: 'run', reason: null, message: null, exitCode: null, node: null, target: null, environment: 'my-env', version: 1_700_000_000,
  name: '', submitter: 'ada', batch: null, index: null, variables: {}, items: null, instance: 0, command: ['echo', 'hello'], env: {}, mounts: [], cores: 1, memoryBytes: null, gpus: 0, gpuMemoryBytes: null, gpuIds: [],
  user: null, workdir: null, network: null, privileged: false, priority: 0, at: null, after: [], retries: 0, timeLimitSeconds: null, signal: 'SIGTERM', graceSeconds: 10, notifyUrl: null,
  sync: null, submitted: '2026-02-03T04:05:06.000Z', started: null, finished: null,
}

/** Of an array, nothing of it begun. */
export const items: BatchItems = { kind: 'array', size: 3, parallel: null, pack: false, pending: '1-3', counts: { queued: 3 } }

/** A batch of {@link items}. */
export const batch: Task = { ...task, id: '01bbbbbbbbbbbbbbbbbbbbbbbb', items }

/** `batch`, ended with one item that failed. */
export const endedBatch: Task = { ...batch, state: 'failed', reason: 'items', message: '1 of 3 items failed.', exitCode: 2, items: { ...items, pending: '', counts: { succeeded: 2, failed: 1 } } }

/** `task` as one item of {@link batch}. */
export function itemOf(index: number, more: Partial<Task> = {}): Task {
  return { ...task, id: `${batch.id}.${index}`, batch: batch.id, index, variables: { index: String(index) }, ...more }
}

/** As nodes tell it. */
export function exitMessage(exitCode: number | null): string | null {
  return exitCode ? `The command ended with exit code ${exitCode}.` : null
}

/** `task`, ended with this exit code. */
export function endedTask(exitCode: number | null, more: Partial<Task> = {}): Task {
  return { ...task, state: exitCode === 0 ? 'succeeded' : 'failed', reason: 'exited', message: exitMessage(exitCode), exitCode, instance: 1, node: 'node1', started: task.submitted, finished: task.submitted, ...more }
}
