import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { createDemultiplexer, demultiplex, type DemultiplexOptions, type OutputChunk } from '#core/engine/demultiplex.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { createRandom } from '#simulator/random.ts'

describe('demultiplex', () => {
  for (const seed of [1, 2, 3, 20, 300]) {
    it(`brings every byte to its channel, wherever the stream is cut (seed ${seed})`, async () => {
      const random = createRandom(seed).below
      const frames = Array.from({ length: 200 }, () => randomFrame(random))
      const pieces = cut(Buffer.concat(frames.map(encode)), random)
      expect(join(await collect(Readable.from(pieces)))).toEqual({ stdout: wanted(frames, 'stdout'), stderr: wanted(frames, 'stderr') })
    })
  }

  it('keeps the order of the two channels', async () => {
    const frames: Frame[] = [{ channel: 2, bytes: Buffer.from('a') }, { channel: 1, bytes: Buffer.from('b') }, { channel: 2, bytes: Buffer.from('c') }]
    const chunks = await collect(Readable.from([Buffer.concat(frames.map(encode))]))
    expect(chunks.map(({ channel, bytes }) => `${channel} ${bytes.toString()}`)).toEqual(['stderr a', 'stdout b', 'stderr c'])
  })

  it('hands out a part of a frame at once, as a view', () => {
    const piece = encode({ channel: 1, bytes: Buffer.alloc(1000, 'x') }).subarray(0, 300)
    const [chunk, ...others] = createDemultiplexer().push(piece)
    expect(others).toEqual([])
    expect(chunk?.bytes.length).toBe(292)
    expect(chunk?.bytes.buffer).toBe(piece.buffer)
  })

  it('takes empty frames and what the Engine calls stdin', async () => {
    const frames: Frame[] = [{ channel: 1, bytes: Buffer.alloc(0) }, { channel: 0, bytes: Buffer.from('in') }, { channel: 2, bytes: Buffer.alloc(0) }]
    expect(join(await collect(Readable.from(frames.map(encode))))).toEqual({ stdout: Buffer.from('in'), stderr: Buffer.alloc(0) })
  })

  describe('of a log', () => {
    const FULL = 'x'.repeat(16 * 1024)
    it.each([
      ['has lines and pieces of longer ones', [[1, FULL], [1, FULL], [1, 'end\n'], [2, 'next\n']], `${FULL}${FULL}end\nnext\n`],
      ['lacks the end of a line in pieces', [[1, FULL], [1, FULL], [1, 'end'], [2, 'next\n']], `${FULL}${FULL}end\nnext\n`],
      ['lacks the end of a line that is just full', [[1, FULL], [2, 'next\n']], `${FULL}\nnext\n`],
      ['has the end of a line that is just full as a frame', [[1, FULL], [1, ''], [2, 'next\n']], `${FULL}\nnext\n`],
      ['has empty lines', [[1, '\n'], [2, '\n']], '\n\n'],
      ['ends without the end of a line', [[1, FULL], [1, 'end']], `${FULL}end`],
      ['ends with a line that is just full', [[1, FULL], [1, '']], `${FULL}\n`],
    ] as const)('that %s', async (_, lines, text) => {
      for (const seed of [1, 2, 3]) {
        const frames = lines.flatMap(([time, line]): Frame[] => [1, 2].map((channel) => ({ channel, bytes: Buffer.from(`2026-01-01T00:00:00.00000000${time}Z ${line}`) })))
        const pieces = cut(Buffer.concat(frames.map(encode)), createRandom(seed).below)
        const { stdout, stderr } = join(await collect(Readable.from(pieces), { isLog: true }))
        expect([stdout.toString(), stderr.toString()]).toEqual([text, text])
      }
    })
  })

  it.each([
    ['an unknown channel', Buffer.from([4, 0, 0, 0, 0, 0, 0, 1, 65])],
    ['something where zeros belong', Buffer.from([1, 0, 9, 0, 0, 0, 0, 1, 65])],
    ['text of a terminal', Buffer.from('root@my-env:/# ls\r\n')],
  ])('refuses %s', async (_what, bytes) => {
    const stream = Readable.from([bytes])
    await expect(collect(stream)).rejects.toMatchObject({ code: 'engine.failed' })
    expect(stream.destroyed).toBe(true)
  })

  it.each([3, 8, 10])('tells an output that was cut after %i bytes from one that has ended', async (length) => {
    const bytes = encode({ channel: 1, bytes: Buffer.from('hello') }).subarray(0, length)
    await expect(collect(Readable.from([bytes]))).rejects.toMatchObject({ code: 'engine.unavailable' })
  })

  it('throws what the Engine reports in the stream, after what came before it', async () => {
    const bytes = Buffer.concat([encode({ channel: 1, bytes: Buffer.from('before') }), encode({ channel: 3, bytes: Buffer.from('log is broken') })])
    const seen: string[] = []
    const read = async () => {
      for await (const chunk of demultiplex(Readable.from(cut(bytes, createRandom(5).below)))) seen.push(chunk.bytes.toString())
    }
    await expect(read()).rejects.toThrow('log is broken')
    expect(seen.join('')).toBe('before')
  })

  it('reads on only when the consumer asks, and destroys the stream when it leaves', async () => {
    let produced = 0
    const stream = new Readable({
      highWaterMark: 1024,
      read() {
        produced++
        this.push(encode({ channel: 1, bytes: Buffer.alloc(1024) }))
      },
    })
    for await (const chunk of demultiplex(stream)) {
      if (chunk.bytes.length > 0) break
    }
    expect(stream.destroyed).toBe(true)
    expect(produced).toBeLessThan(10)
  })
})

// --- internal ---

interface Frame {
  channel: number
  bytes: Buffer
}

function encode({ channel, bytes }: Frame): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt8(channel, 0)
  header.writeUInt32BE(bytes.length, 4)
  return Buffer.concat([header, bytes])
}

function randomFrame(random: (below: number) => number): Frame {
  const length = random(4) === 0 ? random(3) : random(600)
  return { channel: 1 + random(2), bytes: Buffer.from(Array.from({ length }, () => random(256))) }
}

function cut(bytes: Buffer, random: (below: number) => number): Buffer[] {
  const pieces: Buffer[] = []
  for (let offset = 0; offset < bytes.length; ) {
    const length = 1 + (random(3) === 0 ? random(2000) : random(12))
    pieces.push(bytes.subarray(offset, offset + length))
    offset += length
  }
  return pieces
}

async function collect(stream: Readable, options?: DemultiplexOptions): Promise<OutputChunk[]> {
  const chunks: OutputChunk[] = []
  for await (const chunk of demultiplex(stream, options)) chunks.push(chunk)
  return chunks
}

function join(chunks: OutputChunk[]): { stdout: Buffer; stderr: Buffer } {
  const of = (channel: string) => Buffer.concat(chunks.filter((chunk) => chunk.channel === channel).map((chunk) => chunk.bytes))
  return { stdout: of('stdout'), stderr: of('stderr') }
}

function wanted(frames: Frame[], channel: OutputChannel): Buffer {
  return Buffer.concat(frames.filter((frame) => (frame.channel === 2) === (channel === 'stderr')).map((frame) => frame.bytes))
}
