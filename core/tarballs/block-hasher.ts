import { Worker } from 'node:worker_threads'

/** Memory that both threads see: nothing is copied or handed over, so nothing has to be collected. */
export type Block = Uint8Array<SharedArrayBuffer>

/**
 * SHA-256 of a stream of blocks on a thread of its own, because hashing costs more than everything else in packaging.
 * All calls are answered in the order in which they were made.
 */
export interface BlockHasher {
  /** Hashes the first `length` bytes. The block is not to be changed until it resolves. */
  update(block: Block, length: number): Promise<void>
  /** Digest (hexadecimal) of the blocks since the last call. */
  digest(): Promise<string>
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
    async update(block, length) {
      const known = blocks.get(block) ?? blocks.size
      if (!blocks.has(block)) worker.postMessage({ block: known, buffer: block.buffer } satisfies Introduction, [])
      blocks.set(block, known)
      await ask({ block: known, length })
    },
    digest: () => ask('digest'),
    async close() {
      await worker.terminate()
    },
  }
}

// --- internal ---

type Question = { block: number; length: number } | 'digest'

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
let hash = createHash('sha256')
const blocks = []
parentPort.on('message', (message) => {
  if (message === 'digest') {
    parentPort.postMessage(hash.digest('hex'))
    hash = createHash('sha256')
  } else if (message.buffer) {
    blocks[message.block] = new Uint8Array(message.buffer)
  } else {
    hash.update(blocks[message.block].subarray(0, message.length))
    parentPort.postMessage('')
  }
})
`
