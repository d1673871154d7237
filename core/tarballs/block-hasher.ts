import { Worker } from 'node:worker_threads'

export type Block = Uint8Array<ArrayBuffer>

/**
 * SHA-256 of a stream of blocks on a thread of its own, because hashing twice costs more than everything else in packaging:
 * once over everything, and once for each layer. All calls are answered in the order in which they were made.
 */
export interface BlockHasher {
  /** Hashes the first `length` bytes. The block is not to be touched until it comes back. */
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
  let failure: Error | undefined
  const fail = (error: Error) => {
    failure ??= error
    for (const { reject } of waiting.splice(0)) reject(failure)
  }
  worker.on('message', (answer: Answer) => waiting.shift()?.resolve(answer))
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error('The hashing thread has ended')))

  function ask(question: Question, transfer: ArrayBuffer[] = []): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (failure) {
        reject(failure)
        return
      }
      waiting.push({ resolve, reject })
      worker.postMessage(question, transfer)
    })
  }

  return {
    update: async (block, length, isLayer) => new Uint8Array((await ask({ buffer: block.buffer, length, isLayer }, [block.buffer])).buffer),
    layerDigest: async () => (await ask({ end: 'layer' })).digest,
    wholeDigest: async () => (await ask({ end: 'whole' })).digest,
    async close() {
      await worker.terminate()
    },
  }
}

// --- internal ---

type Question = { buffer: ArrayBuffer; length: number; isLayer: boolean } | { end: 'layer' | 'whole' }

interface Answer {
  buffer: ArrayBuffer
  digest: string
}

interface Waiter {
  resolve(answer: Answer): void
  reject(error: Error): void
}

/** As text, because a bundler finds no file of its own for a thread. Buffers change hands, they are not copied. */
const WORKER_SOURCE = `
const { parentPort } = require('node:worker_threads')
const { createHash } = require('node:crypto')
const hashes = { whole: createHash('sha256'), layer: createHash('sha256') }
parentPort.on('message', (question) => {
  if (question.end) {
    const digest = hashes[question.end].digest('hex')
    hashes[question.end] = createHash('sha256')
    parentPort.postMessage({ digest })
    return
  }
  const bytes = new Uint8Array(question.buffer, 0, question.length)
  hashes.whole.update(bytes)
  if (question.isLayer) hashes.layer.update(bytes)
  parentPort.postMessage({ buffer: question.buffer }, [question.buffer])
})
`
