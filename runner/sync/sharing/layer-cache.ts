import { createHash } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { errorMessage, systemErrorCode } from '#core/errors.ts'
import { createId } from '#core/ids.ts'

/** Layers as plain tars on the disk of this node, to give to other nodes. */
export interface LayerCache {
  /** Digests of all. */
  list(): string[]
  /** `undefined` if it is not there. */
  open(digest: string): Promise<Readable | undefined>
  /** A new one. Nobody sees it before it is complete. */
  create(digest: string): Promise<CachedLayer>
}

export interface CachedLayer {
  write(chunk: Uint8Array): Promise<void>
  /** Resolves to whether it is the layer that it should be. If not, it is gone. */
  complete(): Promise<boolean>
  /** Idempotent. */
  abort(): Promise<void>
}

/**
 * Opens the cache, and removes what a crash left half.
 *
 * @param limitBytes beyond it the least recently used go
 */
export async function openLayerCache(directory: string, limitBytes: number): Promise<LayerCache> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const names = await readdir(directory)
  for (const name of names) if (!NAME_RE.test(name)) await rm(join(directory, name), { force: true })
  const digests = new Set(names.filter((name) => NAME_RE.test(name)).map((name) => `sha256:${name}`))
  const pathOf = (digest: string) => join(directory, digest.slice('sha256:'.length))

  async function evict(): Promise<void> {
    const files = await Promise.all([...digests].map(async (digest) => ({ digest, stats: await stat(pathOf(digest)).catch(() => undefined) })))
    let total = files.reduce((sum, { stats }) => sum + (stats?.size ?? 0), 0)
    for (const { digest, stats } of files.toSorted((left, right) => (left.stats?.atimeMs ?? 0) - (right.stats?.atimeMs ?? 0))) {
      if (total <= limitBytes) break
      // Who is reading it reads on: the file has no name any more, and is still there.
      digests.delete(digest)
      await rm(pathOf(digest), { force: true })
      total -= stats?.size ?? 0
    }
  }

  return {
    list: () => [...digests],
    async open(digest) {
      if (!digests.has(digest)) return undefined
      try {
        // File systems note the time of a read late or never.
        await utimes(pathOf(digest), new Date(), new Date())
        const handle = await open(pathOf(digest))
        return handle.createReadStream({ highWaterMark: READ_BYTES })
      } catch (error) {
        if (systemErrorCode(error) === 'ENOENT') digests.delete(digest)
        else console.error(`[hakuriver] [runner] the layer ${digest} can not be given to another node: ${errorMessage(error)}`)
        return undefined
      }
    },
    async create(digest) {
      const temporary = `${pathOf(digest)}.${createId()}`
      const handle = await open(temporary, 'wx', 0o600)
      const hash = createHash('sha256')
      let isOpen = true
      const abort = async () => {
        if (!isOpen) return
        isOpen = false
        await handle.close().catch(() => undefined)
        await rm(temporary, { force: true })
      }
      return {
        async write(chunk) {
          hash.update(chunk)
          await handle.writeFile(chunk)
        },
        async complete() {
          if (!isOpen || `sha256:${hash.digest('hex')}` !== digest) {
            await abort()
            return false
          }
          isOpen = false
          await handle.close()
          await rename(temporary, pathOf(digest))
          digests.add(digest)
          await evict()
          return true
        },
        abort,
      }
    },
  }
}

// --- internal ---

const NAME_RE = /^[0-9a-f]{64}$/
const READ_BYTES = 512 * 1024
