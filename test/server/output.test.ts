import { EventEmitter, once } from 'node:events'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { createApp, createRouter } from 'h3'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hostApi } from '#core/api/host.ts'
import { runnerApi } from '#core/api/runner.ts'
import { outputQuery } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { type Edge, startEdge } from '#core/http/edge.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { type SharedPaths, sharedPaths } from '#core/paths.ts'
import { openOutput, outputHeaders } from '#core/tasks/output-file.ts'
import { createRunnerDispatcher } from '#server/dispatch/runner-dispatcher.ts'
import type { NodeRecord } from '#server/nodes/nodes.ts'
import type { PrintingTask } from '#server/output/executions.ts'
import { createOutput, type Output, type OutputOptions } from '#server/output/output.ts'

const ID = '0123456789abcdefghjkmnpqrs'
const DAY_MS = 86_400_000

let directory: string
let paths: SharedPaths
let output: Output
let task: PrintingTask
let changes: EventEmitter<{ change: [PrintingTask] }>
let online: NodeRecord[]
/** Requests that reached the node. */
let asked: string[]
let node: Edge
let abort: AbortController
const dispatcher = createRunnerDispatcher((hostname) => online.find((record) => record.hostname === hostname))

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-output-'))
  paths = sharedPaths(join(directory, 'shared'), 'tarballs')
  for (const path of [paths.outputs, paths.errors]) mkdirSync(path, { recursive: true })
  writeFileSync(paths.mark, '')
  task = { id: ID, state: 'running', instance: 1, items: null, node: 'a', started: null, finished: null, stdoutBytes: null, stderrBytes: null }
  changes = new EventEmitter()
  asked = []
  abort = new AbortController()
  node = await startNode(paths)
  online = [{ hostname: 'a', url: node.url, hostToken: 'secret', online: true } as NodeRecord]
  create()
})
afterEach(async () => {
  abort.abort()
  dispatcher.close()
  await node.close(0)
  rmSync(directory, { recursive: true })
})

function create(options: Partial<OutputOptions> = {}): void {
  const get = async (id: string) => {
    if (id !== task.id) throw new HakuError('task.not_found', `no task ${id}`)
    return task
  }
  output = createOutput({ tasks: { get, changes }, paths, nodes: { list: () => online }, dispatcher, keepDays: 0, maxPollMs: 20, ...options })
}

/** A Runner's answer to its Host, over its own view of the shared directory. */
async function startNode(seen: SharedPaths): Promise<Edge> {
  const app = createApp()
  app.use(createRouter().get('/api/tasks/:id/output', defineEndpoint(runnerApi.getTaskOutput, async ({ params, query }) => {
    asked.push(`${query.stream} ${query.instance} ${query.offset} ${query.tail}`)
    const part = await openOutput(seen[query.stream](params.id, query.instance), query)
    return { stream: part?.bytes ?? Readable.from([]), headers: { [outputHeaders.offset]: String(part?.offset ?? query.offset) } }
  })))
  return startEdge({ app, api: runnerApi, tokens: () => ({ host: 'secret' }), allowedHosts: [], host: '127.0.0.1', port: 0, name: 'Runner' })
}

function change(difference: Partial<PrintingTask>): void {
  task = { ...task, ...difference }
  changes.emit('change', task)
}

const print = (what: string | Buffer, instance = 1) => appendFileSync(paths.stdout(ID, instance), what)
const end = (stdoutBytes: number, difference: Partial<PrintingTask> = {}) => change({ state: 'succeeded', finished: new Date().toISOString(), stdoutBytes, stderrBytes: 0, ...difference })
const open = (query: Record<string, string> = {}, range?: string) => output.read(ID, 'stdout', outputQuery.parse(query), { range, signal: abort.signal })
const read = async (query: Record<string, string> = {}) => text((await open(query)).stream)
const code = (expected: string) => expect.objectContaining({ code: expected })

/** Resolves once so many bytes have come. */
async function came(stream: Readable, bytes: number): Promise<string> {
  let received = ''
  while (received.length < bytes) {
    const [chunk] = (await once(stream, 'data')) as [Buffer]
    received += chunk.toString()
  }
  return received
}

describe('a part', () => {
  it('begins at a byte, or so many lines from the end', async () => {
    print('one\ntwo\nthree\n')
    expect(await read()).toBe('one\ntwo\nthree\n')
    expect(await read({ offset: '4' })).toBe('two\nthree\n')
    expect(await read({ offset: '99' })).toBe('')
    expect(await read({ tail: '2' })).toBe('two\nthree\n')
    expect(await read({ tail: '0' })).toBe('')
    expect(await read({ tail: '9' })).toBe('one\ntwo\nthree\n')
    const { stream, headers } = await open({ tail: '1' })
    expect(headers).toMatchObject({ [outputHeaders.offset]: '8', [outputHeaders.instance]: '1' })
    expect(await text(stream)).toBe('three\n')
    print('unfinished')
    expect(await read({ tail: '1' })).toBe('unfinished')
    expect(await read({ tail: '2' })).toBe('three\nunfinished')
  })

  it('is found from the end, over blocks and in the middle of long lines', async () => {
    const lines = Array.from({ length: 5000 }, (_, index) => `${index} ${'x'.repeat(index % 97)}\n`)
    const long = `${'y'.repeat(300_000)}\n`
    print([...lines, long, ...lines].join(''))
    for (const count of [1, 2, 4999, 5000, 5001, 5002, 9000]) {
      expect(await read({ tail: String(count) })).toBe([...lines, long, ...lines].slice(-count).join(''))
    }
  })

  it('reads no more than it needs of a large output', async () => {
    // Ten terabytes, were they read.
    print('begin\n')
    truncateSync(paths.stdout(ID, 1), 10e12)
    print('last but one\nlast\n')
    expect(await read({ tail: '1' })).toBe('last\n')
    expect(await output.tail(ID, 'stdout', 8)).toBe('ne\nlast\n')
  })

  it('arrives byte for byte, and leaves out what comes after it was asked for', async () => {
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 256))
    print(bytes)
    const { stream } = await open()
    print('later')
    expect((await buffer(stream)).equals(bytes)).toBe(true)
  })

  it('of a task that has printed nothing is empty', async () => {
    expect(await read()).toBe('')
    expect(await output.tail(ID, 'stderr', 100)).toBe('')
    end(0)
    expect(await read()).toBe('')
  })

  it('is of the last execution, unless another is named', async () => {
    print('first')
    print('second', 2)
    change({ instance: 2 })
    expect(await read()).toBe('second')
    expect(await read({ instance: '1' })).toBe('first')
    await expect(read({ instance: '3' })).rejects.toThrow(code('output.not_found'))
  })

  it('of a batch, of a stranger, or of what is no file is refused', async () => {
    await expect(output.read('x', 'stdout', outputQuery.parse({}), { signal: abort.signal })).rejects.toThrow(code('task.not_found'))
    symlinkSync('/etc/passwd', paths.stdout(ID, 1))
    await expect(read()).rejects.toThrow(code('storage.unavailable'))
    rmSync(paths.stdout(ID, 1))
    mkdirSync(paths.stdout(ID, 1))
    await expect(read()).rejects.toThrow(code('storage.unavailable'))
    change({ items: { kind: 'array', size: 2, parallel: null, pack: false, pending: '', counts: {} } })
    await expect(read()).rejects.toThrow(code('task.is_batch'))
  })
})

describe('what is gone', () => {
  const longAgo = new Date(Date.now() - 10 * DAY_MS).toISOString()

  it('says whether it was cleaned up, or somebody has removed it', async () => {
    end(5, { finished: longAgo, started: longAgo })
    await expect(read()).rejects.toThrow('is not in the shared directory any more')
    await expect(read({ follow: 'true' })).rejects.toThrow(code('output.not_found'))
    create({ keepDays: 7 })
    await expect(read()).rejects.toThrow('was cleaned up: outputs are kept for 7 days (logs.keep_days)')
    change({ instance: 2 })
    await expect(read({ instance: '1' })).rejects.toThrow('was cleaned up')
  })

  it('is not what was never printed', async () => {
    create({ keepDays: 7 })
    end(0, { finished: longAgo, started: longAgo })
    expect(await read()).toBe('')
    change({ stdoutBytes: null, started: null })
    expect(await read()).toBe('')
  })
})

describe('follow', () => {
  it('waits for a queued task, and ends with it, with all of its bytes', async () => {
    change({ state: 'queued', instance: 0, node: null })
    const { stream } = await open({ follow: 'true' })
    const whole = text(stream)
    change({ state: 'running', instance: 1 })
    print('begin ')
    await came(stream, 6)
    print('end')
    end(9)
    expect(await whole).toBe('begin end')
  })

  it('goes on from the lines at the end', async () => {
    print('one\ntwo\n')
    const { stream, headers } = await open({ follow: 'true', tail: '1' })
    expect(headers[outputHeaders.offset]).toBe('4')
    const whole = text(stream)
    print('three\n')
    end(14)
    expect(await whole).toBe('two\nthree\n')
  })

  it('goes on from where a client was, though the file looks shorter', async () => {
    print('12345')
    const { stream } = await open({ follow: 'true', offset: '8' })
    print('67890')
    end(10)
    expect(await text(stream)).toBe('90')
  })

  it('ends with its execution, and the next one can be waited for', async () => {
    const first = await open({ follow: 'true' })
    const second = await open({ follow: 'true', instance: '2' })
    print('first')
    change({ state: 'queued', stdoutBytes: 5 })
    expect(await text(first.stream)).toBe('first')
    expect(await read({ follow: 'true' })).toBe('first')
    change({ state: 'running', instance: 2, stdoutBytes: null })
    print('second', 2)
    end(6)
    expect(await text(second.stream)).toBe('second')
    await expect(read({ follow: 'true', instance: '3' })).rejects.toThrow(code('output.not_found'))
  })

  it('of an execution that never comes ends empty', async () => {
    const { stream } = await open({ follow: 'true', instance: '2' })
    end(0)
    expect(await text(stream)).toBe('')
  })

  it('waits for bytes that the Host sees late, and does not call a part the whole', async () => {
    online = []
    print('1234')
    end(10)
    const late = await open({ follow: 'true' })
    await came(late.stream, 4)
    print('567890')
    expect(await text(late.stream)).toBe('567890')
    create({ lateMs: 50 })
    truncateSync(paths.stdout(ID, 1), 4)
    await expect(text((await open({ follow: 'true' })).stream)).rejects.toThrow(code('storage.unavailable'))
  })

  it('ends in an error when the Host stops', async () => {
    const { stream } = await open({ follow: 'true' })
    const whole = text(stream)
    abort.abort()
    await expect(whole).rejects.toThrow(code('host.stopping'))
  })

  it('leaves no listener', async () => {
    print('x')
    end(1)
    await read({ follow: 'true' })
    expect(changes.listenerCount('change')).toBe(0)
  })
})

describe('through a node', () => {
  it('comes what the Host does not see: parts, lines, and all of a task that goes on', async () => {
    const elsewhere = sharedPaths(join(directory, 'mount of the Host'), 'tarballs')
    create({ paths: elsewhere })
    print('one\ntwo\n')
    expect(await read({ offset: '2' })).toBe('e\ntwo\n')
    expect(await read({ tail: '1' })).toBe('two\n')
    const { stream, headers } = await open({ follow: 'true', tail: '1' })
    expect(headers[outputHeaders.offset]).toBe('4')
    const whole = text(stream)
    await came(stream, 4)
    print('three\n')
    end(14)
    expect(await whole).toBe('two\nthree\n')
    expect(await output.tail(ID, 'stdout', 3)).toBe('ee\n')
    expect(asked[0]).toBe('stdout 1 2 undefined')
  })

  it('comes what an NFS client does not see yet', async () => {
    const elsewhere = sharedPaths(join(directory, 'mount of the Host'), 'tarballs')
    for (const path of [elsewhere.outputs, elsewhere.errors]) mkdirSync(path, { recursive: true })
    writeFileSync(elsewhere.mark, '')
    create({ paths: elsewhere })
    print('all of it')
    end(9)
    expect(await read()).toBe('all of it')
    writeFileSync(elsewhere.stdout(ID, 1), 'all')
    expect(await read()).toBe('all of it')
    expect(await read({ follow: 'true' })).toBe('all of it')
  })

  it('asks another one when that of the task is away, and says so when all are', async () => {
    create({ paths: sharedPaths(join(directory, 'mount of the Host'), 'tarballs') })
    print('here')
    online = [...online.map((record) => ({ ...record, hostname: 'b' })), { hostname: 'a', url: 'http://127.0.0.1:1', hostToken: 'x', online: true } as NodeRecord]
    expect(await read()).toBe('here')
    online = online.slice(1)
    await expect(read()).rejects.toThrow(code('node.unreachable'))
    online = []
    await expect(read({ follow: 'true' })).rejects.toThrow(/does not see its shared directory.*none is online/)
    // It waits, and whoever runs it will be there.
    change({ state: 'queued', instance: 0, node: null })
    await open({ follow: 'true' })
  })
})

describe('ranges of HTTP', () => {
  let host: Edge
  beforeEach(async () => {
    const app = createApp()
    app.use(createRouter().get('/api/tasks/:id/stdout', defineEndpoint(hostApi.getTaskStdout, ({ params, query, range, signal }) => output.read(params.id, 'stdout', query, { range, signal }))))
    host = await startEdge({ app, api: hostApi, tokens: () => ({ admin: 'secret' }), allowedHosts: [], host: '127.0.0.1', port: 0, name: 'Host' })
  })
  afterEach(() => host.close(0))

  async function get(range: string, query = '') {
    const outgoing = request(`${host.url}/api/tasks/${ID}/stdout${query}`, { headers: { authorization: 'Bearer secret', range } }).end()
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    return { status: response.statusCode, range: response.headers['content-range'], body: await text(response) }
  }

  it.each([
    ['bytes=2-4', 206, 'bytes 2-4/10', '234'],
    ['bytes=7-', 206, 'bytes 7-9/10', '789'],
    ['bytes=7-99', 206, 'bytes 7-9/10', '789'],
    ['bytes=-3', 206, 'bytes 7-9/10', '789'],
    ['bytes=-99', 206, 'bytes 0-9/10', '0123456789'],
    ['bytes=4-2', 200, undefined, '0123456789'],
    ['bytes=1-2,4-5', 200, undefined, '0123456789'],
    ['lines=1-2', 200, undefined, '0123456789'],
  ])('%s → %i %s', async (range, status, contentRange, body) => {
    print('0123456789')
    end(10)
    expect(await get(range)).toEqual({ status, range: contentRange, body })
  })

  it('a range of what still grows has no total, and one behind the end is refused', async () => {
    print('0123456789')
    expect(await get('bytes=2-4')).toMatchObject({ status: 206, range: 'bytes 2-4/*', body: '234' })
    expect(await get('bytes=10-')).toMatchObject({ status: 416 })
    expect(JSON.parse((await get('bytes=10-')).body)).toMatchObject({ code: 'output.range_invalid' })
    expect(await get('bytes=-0')).toMatchObject({ status: 416 })
  })

  it('the query wins, and a node tells all', async () => {
    print('0123456789')
    end(10)
    expect(await get('bytes=2-4', '?offset=8')).toEqual({ status: 200, range: undefined, body: '89' })
    rmSync(paths.mark)
    expect(await get('bytes=2-4')).toEqual({ status: 200, range: undefined, body: '0123456789' })
    writeFileSync(paths.mark, '')
  })
})
