import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Task } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { isFinal } from '#core/tasks/states.ts'
import { HakuError } from '#core/errors.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { createNotifications, type Notifications, type NotificationsOptions, type NotifyingEvents } from '#server/notify/notifications.ts'

let directory: string
let database: Kysely<Tables>
let notifications: Notifications
let server: Server
let url: string
/** `answer`: with this status; `false`: never. */
let answer: number | false
let open: ServerResponse[]
/** Bodies that arrived. */
let posted: Task[]
let tasks: Map<string, Task>
let changes: EventEmitter<NotifyingEvents>
let notes: string[]

beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => undefined)
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-notify-'))
  answer = 204
  open = []
  posted = []
  notes = []
  tasks = new Map()
  changes = new EventEmitter()
  server = createServer((request, response) => void receive(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/secret-path?x=1`
  await start()
})
afterEach(async () => {
  await stop()
  server.closeAllConnections()
  server.close()
  rmSync(directory, { recursive: true })
  vi.restoreAllMocks()
})

async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  posted.push((await json(request)) as Task)
  open.push(response)
  if (answer !== false) response.writeHead(answer, { location: '/elsewhere' }).end()
}

async function start(options: Partial<NotificationsOptions> = {}): Promise<void> {
  database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
  notifications = await createNotifications({
    database, changes,
    active: () => [...tasks.values()].filter(({ state }) => !isFinal(state)),
    async get(id) {
      const task = tasks.get(id)
      if (!task) throw new HakuError('task.not_found', `no task ${id}`)
      return task
    },
    async note(id, message) {
      notes.push(message)
      // As the store does: a note is a change too.
      change(id, {})
    },
    pausesMs: [1, 1, 1], ...options,
  })
}

async function stop(): Promise<void> {
  await notifications.close()
  await database.destroy()
}

function add(id: string, more: Partial<Task> = {}): void {
  const task = { id, state: 'running', batch: null, notifyUrl: url, exitCode: null, ...more } as Task
  tasks.set(id, task)
  changes.emit('added', [task])
}

function change(id: string, difference: Partial<Task>): void {
  const before = tasks.get(id) as Task
  const after = { ...before, ...difference }
  tasks.set(id, after)
  changes.emit('change', after, before)
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise(setImmediate)
}

const arrived = (count: number) => until(() => posted.length >= count)
const promised = () => database.selectFrom('notifications').selectAll().orderBy('task').execute()
const settled = () => until(async () => (await promised()).every(({ due }) => due === null))

describe('the end of a task', () => {
  it('is posted once, as JSON, and nothing else of it is', async () => {
    add('a', { state: 'queued' })
    change('a', { state: 'running' })
    change('a', { state: 'paused' })
    change('a', { state: 'failed', exitCode: 3 })
    await arrived(1)
    await settled()
    change('a', { message: 'something late' })
    await notifications.close()
    expect(posted).toEqual([{ ...tasks.get('a'), message: undefined }])
    expect(await promised()).toEqual([])
    expect(notes).toEqual([])
  })

  it('is not posted without an address, nor for each item of a batch', async () => {
    add('quiet', { notifyUrl: null })
    add('batch')
    add('batch.1', { batch: 'batch' })
    for (const id of ['quiet', 'batch.1', 'batch']) change(id, { state: 'succeeded' })
    await arrived(1)
    await settled()
    await notifications.close()
    expect(posted.map(({ id }) => id)).toEqual(['batch'])
  })

  it('of a lost one that comes back is posted as well', async () => {
    add('a')
    change('a', { state: 'lost' })
    await arrived(1)
    await settled()
    change('a', { state: 'running' })
    change('a', { state: 'succeeded' })
    await arrived(2)
    expect(posted.map(({ state }) => state)).toEqual(['lost', 'succeeded'])
  })

  it('that comes during a delivery is not forgotten with it', async () => {
    answer = false
    add('a')
    change('a', { state: 'lost' })
    await arrived(1)
    change('a', { state: 'running' })
    change('a', { state: 'failed' })
    await arrived(2)
    open[0]?.writeHead(200).end()
    await once(open[0] as ServerResponse, 'close')
    expect(await promised()).toMatchObject([{ task: 'a' }])
    open[1]?.writeHead(200).end()
    await until(async () => (await promised()).length === 0)
  })
})

describe('trouble', () => {
  it.each([[500, 'it answered 500'], [302, 'redirects are not followed']])('status %i is tried again, noted at first and at last, and then given up', async (status, words) => {
    answer = status
    add('a')
    change('a', { state: 'succeeded' })
    await arrived(4)
    await until(() => notes.length === 2)
    expect(posted).toHaveLength(4)
    expect(notes[0]).toContain(words)
    expect(notes[0]).toContain('It is tried again')
    expect(notes[1]).toContain('Given up after 4 tries')
    expect(notes.join()).not.toContain('secret-path')
    expect(await promised()).toEqual([])
  })

  it('passes, and the next try arrives', async () => {
    answer = 503
    add('a')
    change('a', { state: 'succeeded' })
    await arrived(1)
    answer = 200
    await until(async () => (await promised()).length === 0)
    expect(notes).toHaveLength(1)
  })

  it('a server that never answers is left after a time-out, and keeps no other waiting', async () => {
    await stop()
    await start({ timeoutMs: 30, pausesMs: [] })
    const other = createServer((request, response) => void receive(request, response)).listen(0, '127.0.0.1')
    await once(other, 'listening')
    answer = false
    for (let index = 0; index < 20; index++) add(`slow${index}`)
    add('fast', { notifyUrl: `http://127.0.0.1:${(other.address() as AddressInfo).port}` })
    for (const id of tasks.keys()) change(id, { state: 'succeeded' })
    await until(() => posted.some(({ id }) => id === 'fast'))
    expect(posted.length).toBeLessThanOrEqual(5)
    await until(() => notes.length === 21)
    expect(notes[0]).toContain('no answer within 0.03 s')
    other.closeAllConnections()
    other.close()
  })

  it('a refused connection is named without the secrets of the address', async () => {
    add('a', { notifyUrl: 'http://user:word@127.0.0.1:1/secret-path' })
    change('a', { state: 'succeeded' })
    await until(() => notes.length === 2)
    expect(notes[1]).toMatch(/^http:\/\/127\.0\.0\.1:1 could not be told of the end: connect ECONNREFUSED/)
    expect(notes.join()).not.toMatch(/word|secret/)
  })
})

describe('a restart of the Host', () => {
  it('goes on with what was not delivered, and counts on', async () => {
    await stop()
    await start({ pausesMs: [1, 600_000, 600_000] })
    answer = 500
    add('a')
    change('a', { state: 'succeeded' })
    await until(async () => (await promised())[0]?.tries === 2)
    await stop()
    answer = 200
    // The clock was set back by a year: nobody waits that long.
    await withDatabase((opened) => opened.updateTable('notifications').set({ due: new Date(Date.now() + 365 * 86_400_000).toISOString() }).execute())
    await start()
    await until(async () => (await promised()).length === 0)
    expect(posted).toHaveLength(3)
  })

  it('tells of an end that its predecessor stored and did not live to tell', async () => {
    add('a')
    await until(async () => (await promised()).length === 1)
    await stop()
    tasks.set('a', { ...(tasks.get('a') as Task), state: 'succeeded' })
    await start()
    await arrived(1)
    expect(posted.map(({ state }) => state)).toEqual(['succeeded'])
  })

  it('waits for what goes on, and forgets whom nobody knows', async () => {
    add('a')
    add('gone')
    await until(async () => (await promised()).length === 2)
    await stop()
    tasks.delete('gone')
    await start()
    await until(async () => (await promised()).length === 1)
    expect(posted).toEqual([])
    change('a', { state: 'succeeded' })
    await arrived(1)
  })
})

async function withDatabase(work: (opened: Kysely<Tables>) => Promise<unknown>): Promise<void> {
  const opened = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
  await work(opened)
  await opened.destroy()
}
