import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type NodeHardware, submitBody, type SubmitInput, type Task, type TaskReport } from '#core/api/schemas.ts'
import { configSchema } from '#core/config/schema.ts'
import { createGroupWriter, type GroupWriter, type Write } from '#core/database/group-writer.ts'
import { openDatabase } from '#core/database/open.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { isFinal, type TaskState } from '#core/tasks/states.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { createVersionMarks } from '#server/environments/marks.ts'
import { createVersions } from '#server/environments/versions.ts'
import { createNodes } from '#server/nodes/nodes.ts'
import { type TaskRules, taskRules } from '#server/queue/task-rules.ts'
import { createTaskStore } from '#server/queue/task-store.ts'
import { createTasks } from '#server/queue/tasks.ts'
import { manifestWith } from '#test/support/environments.ts'
import { createNodeModel } from './node-model.ts'

/** The queue of a Host over a directory and a model of the nodes. The environment `my-env` has the version 7. */
export async function createQueueHost(rules: Partial<TaskRules> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-queue-'))
  const tarballs = createFileSystemStore({ directory, ownerId: 'test' })
  const publish = async (version: number) => {
    const writer = await tarballs.createWriter('my-env', version)
    await writer.write(Buffer.from('archive'))
    await writer.finish()
    await writer.publish(manifestWith({ environment: 'my-env', version, size: 7 }))
  }
  await publish(7)
  const node = createNodeModel()
  const disk: Disk = { isFull: false, refused: 0, onWrite: undefined }

  async function open() {
    const database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
    const writer = withDisk(createGroupWriter(join(directory, 'host.db')), disk)
    const nodes = await createNodes({ database, heartbeatSeconds: 5, timeoutFactor: 6 })
    const store = await createTaskStore({ database, writer })
    const marks = await createVersionMarks(database)
    const versions = createVersions({ tarballs, marks, keepVersions: 1, unfinishedTasks: store.unfinishedOf, nodesWith: () => [] })
    const verifications = { suspect: () => Promise.resolve(), events: new EventEmitter<{ verdict: [{ environment: string; version: number }] }>() }
    const tasks = createTasks({ store, nodes, versions, marks, verifications, dispatcher: node.dispatcher, rules: { ...taskRules(configSchema.parse({})), ...rules } })
    return { database, writer, nodes, store, marks, versions, verifications, tasks }
  }

  let current = await open()

  async function close(): Promise<void> {
    current.tasks.close()
    current.nodes.close()
    current.store.close()
    await settled()
    current.writer.close()
    await current.database.destroy()
  }

  /** What was begun is done, as far as it needs nobody else. */
  async function settled(): Promise<void> {
    for (let round = 0; round < 20; round++) await setImmediate()
  }

  async function submit(body: Partial<SubmitInput> = {}): Promise<Task[]> {
    return (await current.tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', ...body }), 'klaus')).tasks
  }

  const host = {
    node,
    /** Full: no change of a task can be stored. `refused` counts those that were not. */
    disk,
    tarballs,
    directory,
    publish,
    settled,
    get tasks() {
      return current.tasks
    },
    get store() {
      return current.store
    },
    get nodes() {
      return current.nodes
    },
    get marks() {
      return current.marks
    },
    get versions() {
      return current.versions
    },
    get verifications() {
      return current.verifications
    },
    get database() {
      return current.database
    },

    submit,
    async submitOne(body: Partial<SubmitInput> = {}): Promise<string> {
      const [task] = await submit(body)
      return task?.id ?? ''
    },

    async register(hostname: string, hardware: Partial<NodeHardware> = {}): Promise<void> {
      await current.nodes.register({ hostname, url: `http://127.0.0.1:1/${hostname}`, instanceId: hostname, hostToken: 'x'.repeat(32), hardware: { cores: 4, memoryBytes: 1e9, numaNodes: [], gpus: [], plainProcesses: false, ...hardware }, engine: null, runnerVersion: '1' })
    },

    /** What a node saw of its last execution of a task, and what the Host says to that. */
    async report(id: string, seen: Partial<TaskReport>, hostname?: string) {
      const report = node.report(id, seen)
      const place = hostname ?? (await current.store.get(id)).node ?? ''
      return current.tasks.report(place, place, [report])
    },

    /** Takes an order, runs it, and ends it so. */
    async finish(id: string, state: TaskReport['state'] = 'succeeded', exitCode: number | null = state === 'succeeded' ? 0 : 1, instance = 1) {
      await node.ordered(id, instance)
      await host.report(id, { state: 'running', started: new Date().toISOString() })
      await host.report(id, { state, exitCode, reason: exitCode === null ? null : 'exited', finished: new Date().toISOString() })
    },

    beat: (hostname: string) => current.nodes.heartbeat(hostname, { instanceId: hostname, usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks: node.known(hostname) }),

    silence(hostname: string): void {
      const record = current.nodes.get(hostname)
      record.online = false
      current.nodes.events.emit('offline', record)
    },

    /** Resolves once the task is in one of the states. */
    async reached(id: string, ...states: TaskState[]): Promise<Task> {
      for (;;) {
        const task = await current.tasks.get(id)
        if (states.includes(task.state)) return task
        await setImmediate()
      }
    },

    /** Resolves once the full disk has refused a change; it has room from then on. */
    async refusedOnce(): Promise<void> {
      const before = disk.refused
      while (disk.refused === before) await setImmediate()
      disk.isFull = false
    },

    /** Resolves to the task once it has ended. */
    async ended(id: string): Promise<Task> {
      for (;;) {
        const task = await current.tasks.get(id, 30)
        if (isFinal(task.state)) return task
      }
    },

    /** Resolves once it was planned with what there is now. */
    async planned(): Promise<void> {
      await settled()
      const before = current.tasks.plan()
      current.verifications.events.emit('verdict', { environment: 'my-env', version: 7 })
      while (current.tasks.plan() === before) await setImmediate()
    },

    async restart(): Promise<void> {
      await close()
      current = await open()
    },

    async dispose(): Promise<void> {
      await close()
      rmSync(directory, { recursive: true })
    },
  }
  return host
}

interface Disk {
  isFull: boolean
  /** So many changes. */
  refused: number
  /** Right before a change is written. */
  onWrite: ((write: Write) => void) | undefined
}

function withDisk(writer: GroupWriter, disk: Disk): GroupWriter {
  return {
    ...writer,
    write(write) {
      disk.onWrite?.(write)
      if (!disk.isFull) return writer.write(write)
      disk.refused++
      return Promise.reject(new Error('database or disk is full'))
    },
  }
}

export type QueueHost = Awaited<ReturnType<typeof createQueueHost>>
