import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { submitBody, type SubmitBody, type TaskReport } from '#core/api/schemas.ts'
import { configSchema } from '#core/config/schema.ts'
import { createGroupWriter, type GroupWriter } from '#core/database/group-writer.ts'
import { openDatabase } from '#core/database/open.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { TaskState } from '#core/tasks/states.ts'
import { createVersionMarks } from '#server/environments/marks.ts'
import { createVersions } from '#server/environments/versions.ts'
import { manifestWith } from '#test/support/environments.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { createNodes, type Nodes } from '#server/nodes/nodes.ts'
import { createTaskStore, type TaskStore } from '#server/queue/task-store.ts'
import { taskRules } from '#server/queue/task-rules.ts'
import { createTasks, type Tasks } from '#server/queue/tasks.ts'
import { createNodeModel, type NodeModel } from './node-model.ts'

let directory: string
let database: Kysely<Tables>
let writer: GroupWriter
let nodes: Nodes
let store: TaskStore
let tasks: Tasks
let node: NodeModel

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-queue-'))
  const tarballs = createFileSystemStore({ directory, ownerId: 'test' })
  const writer = await tarballs.createWriter('my-env', 7)
  await writer.write(Buffer.from('archive'))
  await writer.finish()
  await writer.publish(manifestWith({ environment: 'my-env', version: 7, size: 7 }))
  node = createNodeModel()
  await start()
})
afterEach(async () => {
  await stop()
  rmSync(directory, { recursive: true })
})

/** Starts a Host's queue on the state that an earlier one left. */
async function start(): Promise<void> {
  database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
  nodes = await createNodes({ database, heartbeatSeconds: 5, timeoutFactor: 6 })
  writer = createGroupWriter(join(directory, 'host.db'))
  store = await createTaskStore({ database, writer })
  const tarballs = createFileSystemStore({ directory, ownerId: 'test' })
  const marks = await createVersionMarks(database)
  const versions = createVersions({ tarballs, marks, keepVersions: 1, unfinishedTasks: store.unfinishedOf, nodesWith: () => [] })
  tasks = createTasks({ store, nodes, versions, marks, verifications: { suspect: () => Promise.resolve(), events: new EventEmitter() }, dispatcher: node.dispatcher, rules: taskRules(configSchema.parse({})) })
}

async function stop(): Promise<void> {
  tasks.close()
  nodes.close()
  writer.close()
  await database.destroy()
}

async function register(hostname: string, cores = 4): Promise<void> {
  await nodes.register({ hostname, url: `http://127.0.0.1:1/${hostname}`, instanceId: hostname, hostToken: 'x'.repeat(32), hardware: { cores, memoryBytes: 1e9, numaNodes: [], gpus: [], plainProcesses: false }, engine: null, runnerVersion: '1' })
}

function submit(body: Partial<SubmitBody> = {}) {
  return tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', ...body }))
}

async function submitOne(body: Partial<SubmitBody> = {}): Promise<string> {
  const { tasks: [task] } = await submit(body)
  return task?.id ?? ''
}

/** Resolves once it was planned. */
async function planned(): Promise<void> {
  const before = tasks.plan()
  while (tasks.plan() === before) await setImmediate()
}

/** Resolves once the task is in one of the states. */
function reached(id: string, ...states: TaskState[]): Promise<void> {
  return new Promise((resolve) => {
    const look = async () => {
      if (!states.includes((await tasks.get(id)).state)) return
      store.changes.off('change', listener)
      resolve()
    }
    const listener = () => void look()
    store.changes.on('change', listener)
    listener()
  })
}

const report = (hostname: string, ...reports: TaskReport[]) => tasks.report(hostname, hostname, reports)

describe('submit', () => {
  it('pins the version and gives the order to the node', async () => {
    await register('a')
    const id = await submitOne({ command: ['echo', 'a b', ''], env: { X: '1' } })
    await node.ordered(id)
    expect(node.orders.get(id)).toMatchObject({ image: { environment: 'my-env', version: 7, fileName: 'my-env-7.tar', configDigest: `sha256:${'1'.repeat(64)}` }, command: ['echo', 'a b', ''], env: { X: '1' } })
    expect(await tasks.get(id)).toMatchObject({ state: 'assigned', node: 'a', version: 7 })
  })

  it('makes one task for each target', async () => {
    await register('a')
    await register('b')
    const { tasks: made } = await submit({ targets: ['a', 'b'] })
    expect(made.map(({ target, index, batch }) => [target, index, batch])).toEqual([['a', 1, made[0]?.batch], ['b', 2, made[0]?.batch]])
    await Promise.all(made.map(({ id }) => node.ordered(id)))
    expect((await Promise.all(made.map(({ id }) => tasks.get(id)))).map((task) => task.node)).toEqual(['a', 'b'])
  })

  it.each([
    [{ targets: ['a', 'ghost'] }, 'node.not_found'],
    [{ targets: ['a:'] }, 'target.invalid'],
    [{ environment: 'my-env-gpu' }, 'environment.no_version'],
    [{ cores: 5 }, 'node.too_small'],
    [{ memoryBytes: 2e9 }, 'node.too_small'],
    [{ mounts: ['/etc:/x'] }, 'task.mount_not_allowed'],
    [{ mounts: ['x'] }, 'task.command_invalid'],
  ])('%j → %s, and nothing is created', async (body, code) => {
    await register('a')
    await expect(submit(body)).rejects.toThrow(expect.objectContaining({ code }))
    expect((await tasks.list({ limit: 10, level: 'all' })).items).toEqual([])
  })

  it('waits for a node, and says so', async () => {
    const id = await submitOne()
    await planned()
    expect(await tasks.get(id)).toMatchObject({ state: 'queued', node: null, message: expect.stringContaining('node') })
    await register('a')
    await node.ordered(id)
    expect(await tasks.get(id)).toMatchObject({ state: 'assigned', node: 'a', message: null })
  })

  it('waits for room, and takes it as soon as there is some', async () => {
    await register('a', 2)
    const first = await submitOne({ cores: 2 })
    const second = await submitOne({ cores: 1 })
    await node.ordered(first)
    expect((await tasks.get(second)).state).toBe('queued')
    expect(tasks.toNode(nodes.get('a'))).toMatchObject({ cores: 2, coresReserved: 2 })
    await report('a', node.report(first, { state: 'succeeded', exitCode: 0 }))
    await node.ordered(second)
    expect(tasks.toNode(nodes.get('a'))).toMatchObject({ coresReserved: 1 })
  })
})

describe('reports', () => {
  it('take a task through its life, and wake who waits', async () => {
    await register('a')
    const id = await submitOne()
    await node.ordered(id)
    const ended = tasks.get(id, 30)
    await report('a', node.report(id, { state: 'running', started: '2026-01-01T00:00:00.000Z' }))
    expect((await tasks.get(id)).state).toBe('running')
    expect(await report('a', node.report(id, { state: 'failed', exitCode: 3, reason: 'exited' }))).toEqual({ acknowledged: [{ id, instance: 1 }], unknown: [] })
    expect(await ended).toMatchObject({ state: 'failed', exitCode: 3, reason: 'exited', started: '2026-01-01T00:00:00.000Z' })
  })

  it('that were overtaken, doubled or come after the end change nothing', async () => {
    await register('a')
    const id = await submitOne()
    await node.ordered(id)
    const running = node.report(id, { state: 'running' })
    const done = node.report(id, { state: 'succeeded', exitCode: 0 })
    await report('a', done)
    expect(await report('a', running, done)).toEqual({ acknowledged: [{ id, instance: 1 }, { id, instance: 1 }], unknown: [] })
    expect((await tasks.get(id)).state).toBe('succeeded')
  })

  it('of strangers are refused', async () => {
    await register('a')
    await register('b')
    const id = await submitOne({ targets: ['a'] })
    await node.ordered(id)
    expect(await report('b', node.report(id, { state: 'succeeded' }))).toEqual({ acknowledged: [], unknown: [{ id, instance: 1 }] })
    await expect(tasks.report('a', 'an older start', [node.report(id, { state: 'succeeded' })])).rejects.toThrow(expect.objectContaining({ code: 'node.not_found' }))
    expect((await tasks.get(id)).state).toBe('assigned')
  })
})

describe('kill', () => {
  it('ends a queued task at once', async () => {
    const id = await submitOne()
    expect(await tasks.kill(id)).toMatchObject({ state: 'killed', reason: 'user' })
    await expect(tasks.kill(id)).rejects.toThrow(expect.objectContaining({ code: 'task.finished' }))
    await expect(tasks.kill('unknown')).rejects.toThrow(expect.objectContaining({ code: 'task.not_found' }))
  })

  it('reaches the node, which tells the end', async () => {
    await register('a')
    const id = await submitOne()
    await node.ordered(id)
    await report('a', node.report(id, { state: 'running' }))
    expect(await tasks.kill(id)).toMatchObject({ state: 'running', wish: 'kill' })
    await node.killed(id)
    await report('a', node.report(id, { state: 'killed', reason: 'user' }))
    expect(await tasks.get(id)).toMatchObject({ state: 'killed' })
  })

  it('of a task that never reached its node ends it, and the node may not start it late', async () => {
    await register('a')
    node.reachable = false
    const id = await submitOne()
    await tasks.kill(id)
    node.reachable = true
    await reached(id, 'killed')
    expect(await report('a', node.report(id, { state: 'running' }))).toEqual({ acknowledged: [], unknown: [{ id, instance: 1 }] })
  })
})

describe('pause', () => {
  it('freezes and goes on', async () => {
    await register('a')
    const id = await submitOne()
    await node.ordered(id)
    await expect(tasks.pause(id)).rejects.toThrow(expect.objectContaining({ code: 'task.state' }))
    await report('a', node.report(id, { state: 'running' }))
    expect(await tasks.pause(id)).toMatchObject({ state: 'paused', wish: 'pause' })
    expect(tasks.toNode(nodes.get('a')).coresReserved).toBe(1)
    expect(await tasks.resume(id)).toMatchObject({ state: 'running', wish: 'run' })
  })
})

describe('faults', () => {
  it('an order is repeated until the node answers, and started once', async () => {
    await register('a')
    node.reachable = false
    const id = await submitOne()
    await node.tried(id, 3)
    node.reachable = true
    await node.ordered(id)
    expect(node.starts.get(id)).toBe(1)
  })

  it('an order that the node refuses fails the task, with its words', async () => {
    await register('a')
    node.refuse = 'no such thing here'
    const id = await submitOne()
    await reached(id, 'failed')
    expect(await tasks.get(id)).toMatchObject({ state: 'failed', reason: 'node_refused', message: expect.stringContaining('no such thing here') })
  })

  it('a restarted Host goes on with all it had accepted', async () => {
    await register('a', 1)
    node.reachable = false
    const first = await submitOne()
    const second = await submitOne()
    await stop()
    node.reachable = true
    await start()
    await node.ordered(first)
    await report('a', node.report(first, { state: 'succeeded', exitCode: 0 }))
    await node.ordered(second)
    expect(node.starts).toEqual(new Map([[first, 1], [second, 1]]))
  })

  it('a task of a silent node is lost, and comes back with it', async () => {
    await register('a')
    const id = await submitOne()
    await node.ordered(id)
    await report('a', node.report(id, { state: 'running' }))
    nodes.events.emit('offline', nodes.get('a'))
    await reached(id, 'lost')
    expect(await tasks.get(id)).toMatchObject({ reason: 'node_unreachable' })
    const back = reached(id, 'running')
    await nodes.heartbeat('a', { instanceId: 'a', usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks: [{ id, instance: 1 }] })
    await back
    expect(node.starts.get(id)).toBe(1)
    expect(await tasks.get(id)).toMatchObject({ state: 'running', reason: null })
  })

  it('a task that its node forgot is lost after two heartbeats without it', async () => {
    await register('a')
    const id = await submitOne()
    await node.ordered(id)
    await report('a', node.report(id, { state: 'running' }))
    const beat = () => nodes.heartbeat('a', { instanceId: 'a', usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks: [] })
    await beat()
    expect((await tasks.get(id)).state).toBe('running')
    const lost = reached(id, 'lost')
    await beat()
    await lost
    expect(await tasks.get(id)).toMatchObject({ reason: 'node_forgot' })
  })

  it('never promises more cores than there are, in any order of events', async () => {
    let seed = 11
    const random = (limit: number) => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % limit
    await register('a', 4)
    await register('b', 2)
    const live: string[] = []
    for (let step = 0; step < 400; step++) {
      if (random(2) === 0) live.push(await submitOne({ cores: 1 + random(4) }))
      const id = live[random(live.length)]
      const task = id === undefined ? undefined : await tasks.get(id)
      if (task?.node && random(3) > 0) {
        await node.ordered(task.id)
        await report(task.node, node.report(task.id, { state: random(2) ? 'succeeded' : 'running', exitCode: 0 }))
      } else if (task && random(4) === 0) await tasks.kill(task.id).catch(() => undefined)
      for (const record of nodes.list()) expect(tasks.toNode(record).coresReserved).toBeLessThanOrEqual(record.cores)
    }
  })
})
