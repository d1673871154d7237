import { Readable } from 'node:stream'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import type { ByteRange, TarballStore } from '#core/tarballs/store.ts'
import { createBackoff } from '../backoff.ts'

/** What a load needs of a store. */
export interface ReadableStore extends Pick<TarballStore, 'find' | 'listVersions' | 'readManifest'> {
  read(environment: string, version: number, range: ByteRange): Promise<Readable>
}

export interface PatienceOptions {
  signal: AbortSignal
  /** What hinders; `null`: it goes on. */
  onTrouble: (message: string | null) => void
}

/** A share that stutters comes back within these; one that does not is a failure to be told. */
const TRIES = 5

/** The same store for one load: what is unavailable is tried again, and a stream that breaks goes on where it was. Other errors pass. */
export function withPatience(store: ReadableStore, options: PatienceOptions): ReadableStore {
  return {
    find: (environment, version) => patiently(options, () => store.find(environment, version)),
    listVersions: (environment) => patiently(options, () => store.listVersions(environment)),
    readManifest: (environment, version) => patiently(options, () => store.readManifest(environment, version)),
    async read(environment, version, range) {
      const first = await patiently(options, () => store.read(environment, version, range))
      const reopen = (start: number) => store.read(environment, version, { start, end: range.end })
      return Readable.from(resume({ ...options, first, range, reopen }), { objectMode: false, highWaterMark: 512 * 1024 })
    },
  }
}

// --- internal ---

async function patiently<T>({ signal, onTrouble }: PatienceOptions, call: () => Promise<T>): Promise<T> {
  const patience = createPatience(signal, onTrouble)
  for (;;) {
    try {
      const answer = await call()
      patience.over()
      return answer
    } catch (error) {
      await patience.wait(error)
    }
  }
}

interface Resumed extends PatienceOptions {
  first: Readable
  range: ByteRange
  reopen(from: number): Promise<Readable>
}

async function* resume({ signal, onTrouble, first, range, reopen }: Resumed): AsyncGenerator<Buffer> {
  const patience = createPatience(signal, onTrouble)
  let position = range.start
  let stream: Readable | undefined = first
  while (position < range.end) {
    try {
      stream ??= await reopen(position)
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        position += chunk.length
        patience.over()
        yield chunk
      }
      // Shorter than asked for, and no error: whoever checks it tells better what is wrong.
      return
    } catch (error) {
      await patience.wait(error)
    } finally {
      stream?.destroy()
      stream = undefined
    }
  }
}

interface Patience {
  /** Waits before the next try. @throws the error, if it will not pass or came too often without a success between */
  wait(error: unknown): Promise<void>
  /** It worked. */
  over(): void
}

function createPatience(signal: AbortSignal, onTrouble: PatienceOptions['onTrouble']): Patience {
  const backoff = createBackoff({ firstMs: 300, maxMs: 5000 })
  let failures = 0
  return {
    async wait(error) {
      signal.throwIfAborted()
      failures += 1
      if (!isHakuError(error, 'storage.unavailable')) throw error
      if (failures === TRIES) throw new HakuError(error.code, `${error.message} Tried ${TRIES} times.`, { cause: error })
      onTrouble(`Reading from the shared storage goes on as soon as it can: ${errorMessage(error)}`)
      await backoff.wait(signal)
    },
    over() {
      if (failures === 0) return
      failures = 0
      backoff.reset()
      onTrouble(null)
    },
  }
}
