import { Worker } from 'node:worker_threads'

/** Memory that both threads see: nothing is copied or handed over, so nothing has to be collected. */
export type Block = Uint8Array<SharedArrayBuffer>

/**
 * SHA-256 of a stream of blocks on a thread of its own, because hashing twice costs more than everything else in packaging:
 * once over everything, and once for each layer. All calls are answered in the order in which they were made.
 */
export interface BlockHasher {
  /** Hashes the first `length` bytes. The block is not to be changed until it comes back. */
  update(block: Block, length: number, isLayer: boolean): Promise<Block>
  /** Digest (hexadecimal) of the layer blocks since the last call. */
  layerDigest(): Promise<string>
  /** Digest of all blocks. */
  wholeDigest(): Promise<string>
  close(): Promise<void>
}

/** Starts the thread. It MUST be closed. */
export function createBlockHasher(): BlockHasher {
  const worker = new Worker(WORKER_SOURCE, { eval: true, execArgv: [], name: 'hakuriver-hasher' })
  const waiting: Waiter[] = []
  /** The thread's number for each block. */
  const blocks = new Map<Block, number>()
  let failure: Error | undefined
  const fail = (error: Error) => {
    failure ??= error
    for (const { reject } of waiting.splice(0)) reject(failure)
  }
  worker.on('message', (answer: string) => waiting.shift()?.resolve(answer))
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error('The hashing thread has ended')))

  function ask(question: Question): Promise<string> {
    return new Promise((resolve, reject) => {
      if (failure) {
        reject(failure)
        return
      }
      waiting.push({ resolve, reject })
      worker.postMessage(question, [])
    })
  }

  return {
    async update(block, length, isLayer) {
      const known = blocks.get(block) ?? blocks.size
      if (!blocks.has(block)) worker.postMessage({ block: known, buffer: block.buffer } satisfies Introduction, [])
      blocks.set(block, known)
      await ask({ block: known, length, isLayer })
      return block
    },
    layerDigest: () => ask({ end: 'layer' }),
    wholeDigest: () => ask({ end: 'whole' }),
    async close() {
      await worker.terminate()
    },
  }
}

// --- internal ---

type Question = { block: number; length: number; isLayer: boolean } | { end: 'layer' | 'whole' }

/** Comes once for each block, and is not answered. */
interface Introduction {
  block: number
  buffer: SharedArrayBuffer
}

interface Waiter {
  resolve(answer: string): void
  reject(error: Error): void
}

/** As text, because a bundler finds no file of its own for a thread. */
const WORKER_SOURCE = `
const { parentPort } = require('node:worker_threads')
const { createHash } = require('node:crypto')
const hashes = { whole: createHash('sha256'), layer: createHash('sha256') }
const blocks = []
parentPort.on('message', ({ block, buffer, length, isLayer, end }) => {
  if (buffer) {
    blocks[block] = new Uint8Array(buffer)
  } else if (end) {
    parentPort.postMessage(hashes[end].digest('hex'))
    hashes[end] = createHash('sha256')
  } else {
    const bytes = blocks[block].subarray(0, length)
    hashes.whole.update(bytes)
    if (isLayer) hashes.layer.update(bytes)
    parentPort.postMessage('')
  }
})
`
