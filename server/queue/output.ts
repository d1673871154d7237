import { open, stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { HakuError, errorMessage, systemErrorCode } from '#core/errors.ts'
import type { SharedPaths } from '#core/paths.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { TaskStore } from './task-store.ts'
import { waitUntilFinal } from './waiting.ts'

export type OutputStream = 'stdout' | 'stderr'

export interface Output {
  /** What a task printed, from byte `offset`; `follow` goes on until the task has ended. @throws `task.not_found`, `storage.unavailable` */
  read(id: string, stream: OutputStream, options: { offset: number; follow: boolean }, signal: AbortSignal): Promise<Readable>
  /** The end of what a task printed, so many bytes of it at most. Without an output it is empty. @throws `storage.unavailable` */
  tail(id: string, stream: OutputStream, bytes: number): Promise<string>
}

const CHUNK_BYTES = 64 * 1024
/** Between two looks at a growing file: NFS tells nobody of changes. */
const POLL_MS = 100
/** An NFS client may see the last bytes of another machine late, for as long as it caches attributes. */
const LATE_BYTES_MS = 10_000

export function createOutput({ store, paths }: { store: TaskStore; paths: SharedPaths }): Output {
  async function* follow(id: string, stream: OutputStream, start: number, signal: AbortSignal): AsyncGenerator<Buffer> {
    let position = start
    let deadline: number | undefined
    while (!signal.aborted) {
      // The state is read before the file: all that an ended task printed is then in the file.
      const task = await store.get(id)
      for await (const chunk of readFrom(paths[stream](id, 1), position)) {
        position += chunk.length
        yield chunk
      }
      const size = stream === 'stdout' ? task.stdoutBytes : task.stderrBytes
      if (isFinal(task.state)) {
        deadline ??= Date.now() + LATE_BYTES_MS
        if (size === null || position >= size || Date.now() > deadline) return
      }
      await waitUntilFinal(store, id, POLL_MS, signal)
      if (isFinal(task.state)) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
    // A clean end would look like the end of the output.
    throw new HakuError('host.stopping', 'The Host is stopping. Read on from where this ends when it is back.')
  }

  return {
    async read(id, stream, options, signal) {
      await store.get(id)
      await assertDirectory(stream === 'stdout' ? paths.outputs : paths.errors)
      const bytes = options.follow ? follow(id, stream, options.offset, signal) : readFrom(paths[stream](id, 1), options.offset)
      return Readable.from(bytes, { objectMode: false, highWaterMark: CHUNK_BYTES })
    },
    async tail(id, stream, bytes) {
      const file = paths[stream](id, 1)
      const chunks: Buffer[] = []
      for await (const chunk of readFrom(file, Math.max(0, (await sizeOf(file)) - bytes))) chunks.push(chunk)
      return Buffer.concat(chunks).toString('utf8')
    },
  }
}

// --- internal ---

/** The bytes from `start` to the present end; nothing while the task has not begun to print. */
async function* readFrom(file: string, start: number): AsyncGenerator<Buffer> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw new HakuError('storage.unavailable', `The output ${file} can not be read: ${errorMessage(error)}.`, { cause: error })
  })
  if (!handle) return
  try {
    let position = start
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, position)
      if (bytesRead === 0) return
      position += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await handle.close()
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 0
    throw new HakuError('storage.unavailable', `The output ${file} can not be read: ${errorMessage(error)}.`, { cause: error })
  }
}

async function assertDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r').catch((error: unknown) => {
    throw new HakuError('storage.unavailable', `The shared directory has no ${directory}: ${errorMessage(error)}. Is it mounted?`, { cause: error })
  })
  await handle.close()
}
