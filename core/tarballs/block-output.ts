import { type Block, createBlockHasher } from './block-hasher.ts'
import type { TarballWriter } from './store.ts'

const BLOCK_SIZE = 512 * 1024
/** One is filled, one is written, the rest wait for the hash: 4 MiB in all. */
const BLOCKS = 8

/**
 * Gathers what goes into an archive in blocks, so that filling, writing and hashing go on at the same time. Memory is bounded by
 * the number of blocks: {@link BlockOutput.write} waits for a free one.
 */
export interface BlockOutput {
  /** Where the next byte goes. */
  readonly position: number
  /** Copies the chunk. Only to be awaited if it answers with a promise: most chunks need no wait. */
  write(chunk: Uint8Array): Promise<void> | undefined
  /** What is written from here to `endLayer` is hashed by itself too. */
  startLayer(): Promise<void>
  /** The digest (hexadecimal) comes when the thread is through with it; nobody has to wait for it to go on. */
  endLayer(): Promise<{ digest: Promise<string> }>
  /** Resolves to the digest (hexadecimal) of everything, once everything is written. */
  finish(): Promise<string>
  /** Waits for the write that is under way and ends the thread. Idempotent. */
  close(): Promise<void>
}

/** @param onProgress told the bytes written so far */
export function createBlockOutput(writer: TarballWriter, onProgress?: (bytes: number) => void): BlockOutput {
  const hasher = createBlockHasher()
  /** Blocks on their way through storage and hash, oldest first: they come back in this order. */
  const returning: Promise<Block>[] = []
  let block = createBlock()
  let made = 1
  let filled = 0
  let flushed = 0
  let isLayer = false
  let lastWrite: Promise<void> = Promise.resolve()

  async function store(full: Block, length: number, end: number): Promise<void> {
    await writer.write(full.subarray(0, length))
    onProgress?.(end)
  }

  async function flush(): Promise<void> {
    if (filled === 0) return
    const [full, length, hashLayer] = [block, filled, isLayer]
    filled = 0
    flushed += length
    const end = flushed
    lastWrite = lastWrite.then(() => store(full, length, end))
    const back = lastWrite.then(() => hasher.update(full, length, hashLayer))
    // A failure is told to whoever waits for the block or for the end; alone it must not count as unhandled.
    back.catch(() => undefined)
    returning.push(back)
    block = await nextBlock()
  }

  async function nextBlock(): Promise<Block> {
    if (made < BLOCKS) {
      made += 1
      return createBlock()
    }
    return (await returning.shift()) ?? createBlock()
  }

  function write(chunk: Uint8Array): Promise<void> | undefined {
    if (filled + chunk.length < BLOCK_SIZE) {
      block.set(chunk, filled)
      filled += chunk.length
      return undefined
    }
    const fits = BLOCK_SIZE - filled
    block.set(chunk.subarray(0, fits), filled)
    filled = BLOCK_SIZE
    return flush().then(() => write(chunk.subarray(fits)))
  }

  return {
    get position() {
      return flushed + filled
    },
    write,
    async startLayer() {
      await flush()
      isLayer = true
    },
    async endLayer() {
      await flush()
      isLayer = false
      const digest = lastWrite.then(() => hasher.layerDigest())
      digest.catch(() => undefined)
      return { digest }
    },
    async finish() {
      await flush()
      await lastWrite
      return hasher.wholeDigest()
    },
    async close() {
      await lastWrite.catch(() => undefined)
      await hasher.close()
    },
  }
}

// --- internal ---

function createBlock(): Block {
  return new Uint8Array(new SharedArrayBuffer(BLOCK_SIZE))
}
