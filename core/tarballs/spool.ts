import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { HakuError } from '../errors.ts'
import { type Block, createBlockHasher } from './block-hasher.ts'
import { formatBytes, isFull } from './drivers/file-system-errors.ts'
import { freeBytes } from './drivers/file-writer.ts'
import { writeAll } from './drivers/write-all.ts'

/** A layer on the local disk, between the moment in which it was taken and its place in a tarball. */
export interface SpooledLayer {
  /** Of the plain tar: its diff id too. */
  digest: string
  /** Bytes of the plain tar. */
  size: number
  open(): Readable
}

/** A layer that is being written. */
export interface LayerFile {
  readonly size: number
  /** Copies the chunk. Only to be awaited if it answers with a promise: most chunks need no wait. */
  write(chunk: Uint8Array): Promise<void> | undefined
  end(): Promise<SpooledLayer>
}

/**
 * A directory of layers that are needed only until their tarball is published. A layer's name in a tarball is its digest and comes
 * before it, so it has to lie somewhere until its last byte is known; and the container it was taken from goes on meanwhile.
 */
export interface Spool {
  /** One at a time. */
  createLayer(): Promise<LayerFile>
  /** Throws `storage.full` unless the disk has room for so many bytes. */
  assertRoom(bytes: number): Promise<void>
  /** Removes everything. */
  close(): Promise<void>
}

/** @param directory its own; made now, gone after `close` */
export async function createSpool(directory: string): Promise<Spool> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const hasher = createBlockHasher()
  const blocks = createBlockPool()
  const handles = new Set<FileHandle>()
  let count = 0

  return {
    async createLayer() {
      count += 1
      const path = join(directory, `layer-${count}`)
      const handle = await open(path, 'wx', 0o600)
      handles.add(handle)
      let block = await blocks.take()
      let filled = 0
      let flushed = 0
      let failure: unknown
      const busy = new Set<Promise<void>>()

      async function store(full: Block, length: number, at: number): Promise<void> {
        try {
          await Promise.all([writeAll(handle, full.subarray(0, length), at), hasher.update(full, length)])
        } catch (error) {
          failure ??= await spoolError(error, directory)
        } finally {
          blocks.give(full)
        }
      }
      async function flush(): Promise<void> {
        const work: Promise<void> = store(block, filled, flushed).finally(() => busy.delete(work))
        busy.add(work)
        flushed += filled
        filled = 0
        block = await blocks.take()
        if (failure !== undefined) throw failure
      }
      function write(chunk: Uint8Array): Promise<void> | undefined {
        const fits = BLOCK_SIZE - filled
        if (chunk.length < fits) {
          block.set(chunk, filled)
          filled += chunk.length
          return undefined
        }
        block.set(chunk.subarray(0, fits), filled)
        filled = BLOCK_SIZE
        return flush().then(() => write(chunk.subarray(fits)))
      }

      return {
        get size() {
          return flushed + filled
        },
        write,
        async end() {
          await flush()
          blocks.give(block)
          await Promise.all(busy)
          if (failure !== undefined) throw failure
          const digest = `sha256:${await hasher.digest()}`
          await handle.close()
          handles.delete(handle)
          return { digest, size: flushed, open: () => createReadStream(path, { highWaterMark: READ_BYTES }) }
        },
      }
    },
    async assertRoom(bytes) {
      const free = await freeBytes(directory)
      if (free !== undefined && free < bytes) throw noRoom(directory, { free, needed: bytes })
    },
    async close() {
      await hasher.close()
      for (const handle of handles) await handle.close().catch(() => undefined)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

// --- internal ---

const BLOCK_SIZE = 512 * 1024
/** One is filled, the rest are written and hashed: 4 MiB in all. */
const BLOCKS = 8
const READ_BYTES = 512 * 1024

interface BlockPool {
  take(): Promise<Block>
  give(block: Block): void
}

function createBlockPool(): BlockPool {
  const free: Block[] = []
  const waiting: ((block: Block) => void)[] = []
  let made = 0
  return {
    async take() {
      const found = free.pop()
      if (found) return found
      if (made < BLOCKS) {
        made += 1
        return new Uint8Array(new SharedArrayBuffer(BLOCK_SIZE))
      }
      return new Promise((resolve) => waiting.push(resolve))
    },
    give(block) {
      const next = waiting.shift()
      if (next) next(block)
      else free.push(block)
    },
  }
}

function noRoom(directory: string, { free, needed, cause }: { free: number | undefined; needed?: number; cause?: unknown }): HakuError {
  const numbers = [...(needed === undefined ? [] : [`${formatBytes(needed)} needed`]), ...(free === undefined ? [] : [`${formatBytes(free)} free`])].join(', ')
  return new HakuError('storage.full', `The disk of the state directory is full: the change is kept there until it is published, at ${directory} (${numbers}). Make room, or move paths.state_dir; nothing has changed.`, { cause })
}

async function spoolError(error: unknown, directory: string): Promise<unknown> {
  return isFull(error) ? noRoom(directory, { free: await freeBytes(directory), cause: error }) : error
}
