import { once } from 'node:events'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { text } from 'node:stream/consumers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createDockerEngine } from '#core/engine/docker.ts'
import { createTransport, segment } from '#core/engine/transport.ts'
import { type FakeBehaviour, type FakeDaemon, startFakeDaemon } from './support/fake-daemon.ts'

let daemon: FakeDaemon | undefined
afterEach(async () => {
  vi.unstubAllEnvs()
  await daemon?.stop()
  daemon = undefined
})

async function connect(behaviour: FakeBehaviour) {
  daemon = await startFakeDaemon(behaviour)
  return { transport: createTransport(daemon.socketPath), engine: createDockerEngine({ socketPath: daemon.socketPath }) }
}

const request = { method: 'GET', path: '/x', what: 'ask' } as const

describe('a daemon that dies', () => {
  it('in the middle of an answer ends the call', async () => {
    const { engine } = await connect({
      answer(_request, response) {
        // As for /wait: the headers come at once, the body when the container ends.
        response.writeHead(200, { 'Content-Type': 'application/json' })
        response.flushHeaders()
        setImmediate().then(() => response.destroy(), () => undefined)
      },
    })
    await expect(engine.waitContainer('some')).rejects.toMatchObject({ code: 'engine.unavailable' })
  })

  it('before it answers ends the call', async () => {
    const { engine } = await connect({ answer: (_request, response) => response.destroy() })
    await expect(engine.info()).rejects.toMatchObject({ code: 'engine.unavailable' })
  })

  it('in the middle of a stream that nobody reads yet does no harm, and is told to who reads it', async () => {
    const { engine } = await connect({
      answer(_request, response) {
        response.write('half')
        setImmediate().then(() => response.destroy(), () => undefined)
      },
    })
    const stream = await engine.saveImage('some')
    stream.resume()
    await once(stream, 'close').catch(() => undefined)
    await expect(text(stream)).rejects.toMatchObject({ code: 'engine.unavailable' })
  })

  it('is told from one that was never there', async () => {
    const engine = createDockerEngine({ socketPath: '/nonexistent/docker.sock' })
    await expect(engine.info()).rejects.toMatchObject({ code: 'engine.unavailable', message: expect.stringContaining('/nonexistent/docker.sock') as string })
  })
})

describe('answers', () => {
  it('of something else than an Engine are refused', async () => {
    const { engine } = await connect({ answer: (_request, response) => response.end('<html>') })
    await expect(engine.info()).rejects.toMatchObject({ code: 'engine.failed' })
  })

  it('that this version does not know are failures of the Engine, not of the user', async () => {
    const { engine } = await connect({ answer: (_request, response) => response.end('{"StatusCode":"nought"}') })
    await expect(engine.waitContainer('some')).rejects.toMatchObject({ code: 'engine.failed', message: expect.stringContaining('StatusCode') as string })
  })

  it('come from the given socket, whatever DOCKER_HOST says', async () => {
    vi.stubEnv('DOCKER_HOST', 'tcp://127.0.0.1:1')
    const { transport } = await connect({ answer: (_request, response) => response.end('{"here":true}') })
    expect(await transport.call(request)).toEqual({ here: true })
  })

  it('that hold the reason of a wait that failed are errors', async () => {
    const { engine } = await connect({ answer: (_request, response) => response.end('{"StatusCode":0,"Error":{"Message":"lost track"}}') })
    await expect(engine.waitContainer('some')).rejects.toThrow('lost track')
  })
})

describe('a signal', () => {
  it('ends a call that waits, with its reason', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const { engine } = await connect({ answer: () => controller.abort(reason) })
    await expect(engine.waitContainer('some', { signal: controller.signal })).rejects.toBe(reason)
  })

  it('ends an open stream, with its reason', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const { engine } = await connect({ answer: (_request, response) => void response.write('half') })
    const stream = await engine.saveImage('some', { signal: controller.signal })
    const read = text(stream)
    controller.abort(reason)
    await expect(read).rejects.toBe(reason)
  })

  it('that was given before sends nothing', async () => {
    let asked = 0
    const { engine } = await connect({ answer: (_request, response) => void response.end(String(asked++)) })
    await expect(engine.waitContainer('some', { signal: AbortSignal.abort(new Error('never')) })).rejects.toThrow('never')
    expect(asked).toBe(0)
  })
})

describe('a hijacked connection', () => {
  it('has the bytes that came together with the headers', async () => {
    const { transport } = await connect({
      hijack: (_request, socket) => void socket.end('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst words'),
    })
    expect(await text(await transport.hijack(request))).toBe('first words')
  })

  it('is refused with the words of the Engine', async () => {
    const { transport } = await connect({ hijack: (_request, socket) => void socket.end('HTTP/1.1 409 Conflict\r\nContent-Length: 40\r\nConnection: close\r\n\r\n{"message":"Container 1 is not running"}') })
    await expect(transport.hijack(request)).rejects.toMatchObject({ message: expect.stringContaining('is not running') as string })
  })

  it('that the Engine does not hand over is an error', async () => {
    const { transport } = await connect({ hijack: (_request, socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n') })
    await expect(transport.hijack(request)).rejects.toMatchObject({ code: 'engine.failed' })
  })
})

describe('an upload', () => {
  it('whose source fails is cut off, and says what the source died of', async () => {
    const { engine, isWhole } = await connectForUpload()
    await expect(engine.loadImage(dyingSource(new Error('disk is gone')))).rejects.toThrow('disk is gone')
    expect(await isWhole).toBe(false)
  })

  it('whose source just goes away is cut off as well', async () => {
    const { engine, isWhole } = await connectForUpload()
    await expect(engine.loadImage(dyingSource())).rejects.toThrow('closed before its end')
    expect(await isWhole).toBe(false)
  })

  it('whose daemon dies blames the daemon', async () => {
    const source = new Readable({ read() { this.push(Buffer.alloc(64 * 1024)) } })
    const { engine } = await connect({ answer: (incoming) => void incoming.once('data', () => incoming.destroy()) })
    await expect(engine.loadImage(source)).rejects.toMatchObject({ code: 'engine.unavailable' })
    expect(source.destroyed).toBe(true)
  })

  it('that is refused in the middle ends its source', async () => {
    const source = new Readable({ read() { this.push(Buffer.alloc(64 * 1024)) } })
    const { engine } = await connect({
      answer(_request, response) {
        response.writeHead(500, { Connection: 'close' })
        response.end('{"message":"write /x: no space left on device"}')
      },
    })
    await expect(engine.loadImage(source)).rejects.toMatchObject({ code: 'storage.full' })
    if (!source.closed) await once(source, 'close')
    expect(source.destroyed).toBe(true)
  })
})

describe('a pull', () => {
  it('adds up its layers and rejects on an error in the stream', async () => {
    const lines = [
      { status: 'Pulling from some', id: 'latest' },
      { status: 'Downloading', id: 'a', progressDetail: { current: 10, total: 100 } },
      { status: 'Downloading', id: 'b', progressDetail: { current: 5, total: 50 } },
      { status: 'Download complete', id: 'a', progressDetail: {} },
      { status: 'Extracting', id: 'a', progressDetail: { current: 1, total: 100 } },
      { error: 'unexpected EOF' },
    ]
    const { engine } = await connect({ answer: (_request, response) => response.end(lines.map((line) => JSON.stringify(line)).join('\r\n')) })
    const sums: string[] = []
    const pulling = engine.pullImage('some', { onProgress: ({ bytes, totalBytes }) => sums.push(`${bytes}/${totalBytes}`) })
    await expect(pulling).rejects.toMatchObject({ code: 'image.pull_failed' })
    expect(sums).toEqual(['0/0', '10/100', '15/150', '105/150', '105/150'])
  })

  it.each([
    ['registry.example:5000/team/tool', 'registry.example:5000/team/tool', 'latest'],
    ['tool:1.2', 'tool', '1.2'],
    ['registry.example:5000/tool:1.2', 'registry.example:5000/tool', '1.2'],
  ])('of %s asks for one tag', async (reference, image, tag) => {
    let url = ''
    const { engine } = await connect({ answer: (incoming, response) => void response.end((url = incoming.url ?? '', '')) })
    await engine.pullImage(reference, {})
    expect(Object.fromEntries(new URL(url, 'http://docker').searchParams)).toEqual({ fromImage: image, tag })
  })

  it.each(['manifest for ghost:latest not found: manifest unknown', 'pull access denied for ghost, repository does not exist'])('of what is not there: %s', async (error) => {
    const { engine } = await connect({ answer: (_request, response) => response.end(JSON.stringify({ error })) })
    await expect(engine.pullImage('ghost', {})).rejects.toMatchObject({ code: 'image.not_found' })
  })
})

it('an id stays one segment of the path', () => {
  expect(['a/b', '..', '.', 'x?y#z', 'a..b'].map(segment)).toEqual(['a%2Fb', '%2E%2E', '%2E', 'x%3Fy%23z', 'a..b'])
})

// --- internal ---

/** `isWhole`: whether the daemon has seen the proper end of the body. */
async function connectForUpload() {
  const behaviour: FakeBehaviour = {}
  const isWhole = new Promise<boolean>((resolve) => {
    behaviour.answer = (incoming) => {
      incoming.resume().on('error', () => undefined).on('close', () => resolve(incoming.complete))
    }
  })
  return { engine: (await connect(behaviour)).engine, isWhole }
}

/** Dies when more has been read than fits into any buffer on the way: the daemon has begun to read by then. */
function dyingSource(error?: Error): Readable {
  let reads = 0
  return new Readable({
    read() {
      if (++reads > 50) this.destroy(error)
      else this.push(Buffer.alloc(100_000))
    },
  })
}
