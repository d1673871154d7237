import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { registerBody, type Execution, type RegisterBody } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { toNode } from '#server/nodes/node-record.ts'
import { createNodes, type Nodes } from '#server/nodes/nodes.ts'

const HEARTBEAT_MS = 5000
const TIMEOUT_MS = 30_000
const HOUR_MS = 3_600_000

let directory: string
let database: Kysely<Tables>
let nodes: Nodes
/** What was told, such as `offline a`. */
let told: string[]

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] })
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-nodes-'))
  await start()
})
afterEach(async () => {
  await stop()
  rmSync(directory, { recursive: true })
  vi.useRealTimers()
  vi.restoreAllMocks()
})

async function start(): Promise<void> {
  database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
  nodes = await createNodes({ database, heartbeatSeconds: HEARTBEAT_MS / 1000, timeoutFactor: TIMEOUT_MS / HEARTBEAT_MS })
  told = []
  for (const event of ['online', 'offline', 'drain', 'removed'] as const) nodes.events.on(event, ({ hostname }) => told.push(`${event} ${hostname}`))
}

async function stop(): Promise<void> {
  nodes.close()
  await database.destroy()
}

const register = (hostname: string, more: Partial<RegisterBody> = {}) =>
  nodes.register(registerBody.parse({ hostname, url: `http://127.0.0.1:1/${hostname}`, instanceId: `${hostname}-1`, hostToken: 'x'.repeat(32), hardware: { cores: 4, memoryBytes: 1e9 }, engine: null, runnerVersion: '1', ...more }))
const beat = (hostname: string, { instanceId = `${hostname}-1`, tasks = [] }: { instanceId?: string; tasks?: Execution[] } = {}) =>
  nodes.heartbeat(hostname, { instanceId, usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks })
const code = (expected: string) => expect.objectContaining({ code: expected })

describe('silence', () => {
  it('makes a node offline after its time-out, and a beat brings it back', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    vi.advanceTimersByTime(TIMEOUT_MS)
    expect(nodes.get('a').online).toBe(true)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    expect(nodes.get('a').online).toBe(false)
    await beat('a')
    expect(nodes.get('a').online).toBe(true)
    expect(told).toEqual(['online a', 'offline a', 'online a'])
  })

  it('is told again and again while it goes on, and logged once', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    vi.advanceTimersByTime(3 * (TIMEOUT_MS + HEARTBEAT_MS))
    expect(told).toEqual(['online a', 'offline a', 'offline a', 'offline a'])
    expect(log).toHaveBeenCalledTimes(1)
  })

  it('is ended by whatever the node says of its tasks', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    vi.advanceTimersByTime(TIMEOUT_MS)
    await nodes.hear('a', 'a-1')
    vi.advanceTimersByTime(TIMEOUT_MS)
    expect(nodes.get('a').online).toBe(true)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    await nodes.hear('a', 'a-1')
    expect(nodes.get('a').online).toBe(true)
    await expect(nodes.hear('a', 'a-0')).rejects.toThrow(code('node.not_found'))
    expect(told).toEqual(['online a', 'offline a', 'online a'])
  })

  it('is over only once that is stored, and then it is told', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    vi.advanceTimersByTime(TIMEOUT_MS + HEARTBEAT_MS)
    const insertInto = vi.spyOn(database, 'insertInto').mockImplementation(() => {
      throw new Error('no space left')
    })
    await expect(beat('a')).rejects.toThrow('no space left')
    expect(nodes.get('a').online).toBe(false)
    insertInto.mockRestore()
    await beat('a')
    expect(told).toEqual(['online a', 'offline a', 'online a'])
  })

  it.each([['forth', HOUR_MS], ['back', -HOUR_MS]])('a clock that steps %s makes nobody offline, and nobody immortal', async (_, stepMs) => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    vi.setSystemTime(Date.now() + stepMs)
    vi.advanceTimersByTime(TIMEOUT_MS)
    expect(nodes.get('a').online).toBe(true)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    expect(nodes.get('a').online).toBe(false)
  })

  it('while the Host itself was frozen does not count', async () => {
    await register('a')
    // One tick is all that an interval makes up for, however long nobody ran.
    vi.setSystemTime(Date.now() + HOUR_MS)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    expect(nodes.get('a').online).toBe(true)
  })

  it('is forgiven once after a restart of the Host, but who was offline stays so, and is told again', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('gone')
    vi.advanceTimersByTime(TIMEOUT_MS + HEARTBEAT_MS)
    await register('a')
    await stop()
    await start()
    expect(nodes.list().map(({ hostname, online }) => [hostname, online])).toEqual([['a', true], ['gone', false]])
    vi.advanceTimersByTime(TIMEOUT_MS + HEARTBEAT_MS)
    expect(told.toSorted()).toEqual(['offline a', 'offline gone'])
  })
})

describe('registration', () => {
  it('keeps all of the hardware, over a restart of the Host too', async () => {
    const hardware = { cores: 8, memoryBytes: 1e9, numaNodes: [{ id: 0, cpus: '0-7', cores: 8, memoryBytes: 1e9 }], gpus: [{ id: 0, uuid: 'GPU-1', name: 'H100', memoryBytes: 8e10, numaNode: 0 }], plainProcesses: true }
    await register('a', { hardware })
    await stop()
    await start()
    expect(toNode(nodes.get('a'), { cores: 3, memoryBytes: 5, gpuIds: [1, 0], tasks: 2 })).toMatchObject({ ...hardware, hostname: 'a', coresReserved: 3, memoryReservedBytes: 5, gpusReserved: [0, 1], tasks: 2, drained: null })
  })

  it('of a name that lives elsewhere is refused, and taken over once that one is silent', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const other = { url: 'http://127.0.0.2:1/a', instanceId: 'a-2' }
    await register('a')
    await expect(register('a', other)).rejects.toThrow(code('node.name_in_use'))
    vi.advanceTimersByTime(TIMEOUT_MS + HEARTBEAT_MS)
    await register('a', other)
    await expect(beat('a')).rejects.toThrow(code('node.not_found'))
    await beat('a', { instanceId: 'a-2' })
  })

  it.each(['\r\n'.repeat(20), 'é'.repeat(32), `${'x'.repeat(32)} `, 'x'.repeat(31)])('with the token %j, which no header can carry or is too short, is refused', (hostToken) => {
    expect(registerBody.safeParse({ hostname: 'a', url: 'http://127.0.0.1:1', instanceId: 'i', hostToken, hardware: { cores: 4, memoryBytes: 1e9 }, engine: null, runnerVersion: '1' }).error?.issues).toMatchObject([{ path: ['hostToken'] }])
  })

  it('a beat tells which executions the node knows', async () => {
    const heard: Execution[][] = []
    nodes.events.on('heartbeat', (_, executions) => heard.push(executions))
    await register('a')
    await beat('a', { tasks: [{ id: 'x', instance: 2 }] })
    expect(heard).toEqual([[{ id: 'x', instance: 2 }]])
  })
})

describe('drain', () => {
  it('holds over a restart of the Host and of the Runner, and remembers since when', async () => {
    await register('a')
    const { drained } = await nodes.drain('a', 'new memory')
    expect(drained).toEqual({ since: new Date().toISOString(), reason: 'new memory' })
    await stop()
    await start()
    vi.setSystemTime(Date.now() + HOUR_MS)
    await register('a', { instanceId: 'a-2' })
    expect(nodes.get('a').drained).toEqual(drained)
    expect((await nodes.drain('a', 'and a disk')).drained).toEqual({ since: drained?.since, reason: 'and a disk' })
    expect((await nodes.drain('a')).drained).toMatchObject({ reason: 'and a disk' })
    expect((await nodes.drain('a', '')).drained).toMatchObject({ reason: '' })
    expect((await nodes.undrain('a')).drained).toBeNull()
    expect(told).toEqual(['online a', 'drain a', 'drain a', 'drain a', 'drain a'])
    await stop()
    await start()
    expect(nodes.get('a').drained).toBeNull()
  })

  it('is not lost when the Runner registers at the same moment', async () => {
    await register('a')
    await Promise.all([register('a', { instanceId: 'a-2' }), nodes.drain('a', 'x'), register('a', { instanceId: 'a-3' })])
    expect(nodes.get('a')).toMatchObject({ instanceId: 'a-3', drained: { reason: 'x' } })
    await stop()
    await start()
    expect(nodes.get('a')).toMatchObject({ instanceId: 'a-3', drained: { reason: 'x' } })
  })

  it('that can not be stored changes nothing', async () => {
    await register('a')
    await database.destroy()
    await expect(nodes.drain('a', 'x')).rejects.toThrow('destroyed')
    expect(nodes.get('a').drained).toBeNull()
  })

  it('of a stranger is refused', async () => {
    await expect(nodes.drain('ghost', '')).rejects.toThrow(code('node.not_found'))
    await expect(nodes.undrain('ghost')).rejects.toThrow(code('node.not_found'))
    await expect(nodes.remove('ghost')).rejects.toThrow(code('node.not_found'))
  })
})

describe('remove', () => {
  it('only takes a node that is offline, tells of it, and the name may come back as a new one', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    await nodes.drain('a', 'x')
    await expect(nodes.remove('a')).rejects.toThrow(code('node.online'))
    vi.advanceTimersByTime(TIMEOUT_MS + HEARTBEAT_MS)
    await nodes.remove('a')
    expect(nodes.list()).toEqual([])
    await expect(beat('a')).rejects.toThrow(code('node.not_found'))
    await stop()
    await start()
    expect(nodes.list()).toEqual([])
    await register('a')
    expect(nodes.get('a').drained).toBeNull()
    expect(told).toEqual(['online a'])
  })

  it.each([['before', []], ['after', ['a']]])('%s a beat of that moment is decided once', async (when, left) => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    vi.advanceTimersByTime(TIMEOUT_MS + HEARTBEAT_MS)
    const work = [() => nodes.remove('a'), () => beat('a')]
    const [first, second] = await Promise.allSettled((when === 'before' ? work : work.toReversed()).map((one) => one()))
    expect([first?.status, second]).toEqual(['fulfilled', { status: 'rejected', reason: code(when === 'before' ? 'node.not_found' : 'node.online') as unknown }])
    expect(nodes.list().map(({ hostname }) => hostname)).toEqual(left)
    await stop()
    await start()
    expect(nodes.list().map(({ hostname, online }) => [hostname, online])).toEqual(left.map((hostname) => [hostname, true]))
  })

  it('tells of it', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    await register('a')
    vi.advanceTimersByTime(TIMEOUT_MS + HEARTBEAT_MS)
    await nodes.remove('a')
    expect(told).toEqual(['online a', 'offline a', 'removed a'])
    vi.advanceTimersByTime(10 * TIMEOUT_MS)
    expect(told).toHaveLength(3)
  })
})
