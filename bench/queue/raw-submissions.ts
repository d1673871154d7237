import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createApp, createRouter, defineEventHandler, readBody, setResponseStatus, toNodeListener } from 'h3'
import Database from 'libsql'
import type { SubmitBody, Task } from '#core/api/schemas.ts'

// The yardstick for submissions: h3 as it is, and one row for each request, as durable as a task of the Host. It answers with a task as the Host does, so that
// its clients have as much to read. Prints its port.

const [file = ''] = process.argv.slice(2)
const database = new Database(file)
database.pragma('journal_mode = WAL')
database.pragma('synchronous = FULL')
database.exec('CREATE TABLE tasks (number INTEGER PRIMARY KEY, submitted TEXT NOT NULL, body TEXT NOT NULL)')
const insert = database.prepare('INSERT INTO tasks (submitted, body) VALUES (?, ?)')

const QUEUED: Omit<Task, 'id' | 'submitted' | 'command'> = {
  name: '', submitter: '', batch: null, index: null, variables: {}, items: null, state: 'queued', wish: 'run', reason: null, message: null, exitCode: null, instance: 0, node: null,
  target: null, environment: null, version: null, env: {}, mounts: [], cores: 1, memoryBytes: null, gpus: 0, gpuMemoryBytes: null, gpuIds: [], user: null, workdir: null, network: null,
  privileged: false, priority: 0, at: null, after: [], retries: 0, timeLimitSeconds: null, signal: 'SIGTERM', graceSeconds: 10, notifyUrl: null, sync: null, started: null, finished: null,
}

const router = createRouter().post('/api/tasks', defineEventHandler(async (event) => {
  const body = await readBody<SubmitBody>(event)
  const submitted = new Date().toISOString()
  const { lastInsertRowid: number } = insert.run(submitted, JSON.stringify(body))
  setResponseStatus(event, 201)
  return { tasks: [{ ...QUEUED, id: String(number), submitted, command: body.command }] }
}))

const server = createServer(toNodeListener(createApp().use(router)))
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
process.on('SIGTERM', () => process.exit())
