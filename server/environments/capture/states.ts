import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { systemErrorCode } from '#core/errors.ts'
import type { Tree } from './tree.ts'

/** What a container's writable layer was when a version was made of it. */
export interface CapturedState {
  containerId: string
  upperDir: string
  version: number
  tree: Tree
}

/** One captured state for each environment, on the Host's own disk. One that is lost or unreadable costs a whole layer the next time, and nothing else. */
export interface CapturedStates {
  load(environment: string): Promise<CapturedState | undefined>
  save(environment: string, state: CapturedState): Promise<void>
  remove(environment: string): Promise<void>
}

/** @param directory its own */
export function createCapturedStates(directory: string): CapturedStates {
  const pathOf = (environment: string) => join(directory, environment)
  return {
    async load(environment) {
      try {
        return await read(pathOf(environment))
      } catch (error) {
        if (systemErrorCode(error) !== 'ENOENT') console.error(`[hakuriver] [packaging] the captured state of ${environment} can not be read, so all of it is captured anew:`, error)
        return undefined
      }
    },
    async save(environment, state) {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      // Read after a crash only whole: the name comes last. No environment's name has this character.
      const temporary = `${pathOf(environment)}~`
      try {
        await pipeline(Readable.from(records(state), { objectMode: false }), createWriteStream(temporary, { mode: 0o600, flush: true }))
        await rename(temporary, pathOf(environment))
      } catch (error) {
        await rm(temporary, { force: true })
        throw error
      }
    },
    async remove(environment) {
      await rm(pathOf(environment), { force: true })
    },
  }
}

// --- internal ---

/** `signature / path NUL` each, because a path may hold anything else; then the digest of all that. */
function* records({ tree, ...head }: CapturedState): Generator<Buffer> {
  const hash = createHash('sha256')
  const flush = (text: string) => {
    const bytes = Buffer.from(text, 'latin1')
    hash.update(bytes)
    return bytes
  }
  let batch = `${JSON.stringify(head)}\0`
  for (const [path, signature] of tree) {
    batch += `${signature}/${path}\0`
    if (batch.length < 65_536) continue
    yield flush(batch)
    batch = ''
  }
  yield flush(batch)
  yield Buffer.from(hash.digest('hex'), 'latin1')
}

async function read(path: string): Promise<CapturedState> {
  const tree: Tree = new Map()
  const hash = createHash('sha256')
  let head: Omit<CapturedState, 'tree'> | undefined
  let rest = ''
  for await (const chunk of createReadStream(path, { encoding: 'latin1', highWaterMark: 256 * 1024 }) as AsyncIterable<string>) {
    const found = (rest + chunk).split('\0')
    rest = found.pop() ?? ''
    for (const record of found) {
      hash.update(`${record}\0`, 'latin1')
      if (!head) {
        head = JSON.parse(record) as Omit<CapturedState, 'tree'>
        continue
      }
      const slash = record.indexOf('/')
      tree.set(record.slice(slash + 1), record.slice(0, slash))
    }
  }
  if (!head || rest !== hash.digest('hex')) throw new Error(`${path} was cut or changed`)
  return { ...head, tree }
}
