import { EventEmitter } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Operation, Version } from '#core/api/schemas.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { tarballFileName } from '#core/paths.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { readTar } from '#core/tarballs/tar/read.ts'
import type { OperationContext, Operations } from '../operations/operations.ts'
import { createTurns } from '../turns.ts'
import type { VersionMarks } from './marks.ts'
import { bytesOf, checkLayers } from './verify.ts'
import type { Versions } from './versions.ts'

/** Whether versions are damaged, as the Host itself reads them from the storage. */
export interface Verifications {
  /**
   * A node says that a version is damaged. It is held back at once, and the Host reads it itself in the background: then the mark stays, with
   * what the Host found, or goes. What a node said of a version that the Host then read well holds nothing back a second time.
   */
  suspect(suspicion: Suspicion): Promise<void>
  /** Reads a version as an operation, which fails if it is damaged. Marks it, or lifts the mark. @throws `tarball.not_found` */
  start(environment: string, version: number): Promise<Operation>
  /** At the start of a Host: goes on with what the one before had not looked at. */
  recover(): void
  /** Tells that a version is held back no longer, or for good. */
  events: EventEmitter<{ verdict: [{ environment: string; version: number }] }>
  close(): Promise<void>
}

export interface Suspicion {
  environment: string
  version: number
  damage: string
  /** Who says so. */
  node: string
}

export interface VerificationsOptions {
  operations: Pick<Operations, 'start'>
  tarballs: TarballStore
  versions: Pick<Versions, 'describe'>
  marks: VersionMarks
}

export function createVerifications(options: VerificationsOptions): Verifications {
  const { operations, versions, marks } = options
  const events: Verifications['events'] = new EventEmitter()
  const closing = new AbortController()
  /** One verification at a time for each version. */
  const turns = createTurns()
  /** Versions and the nodes that were wrong about them. */
  const refuted = new Set<string>()

  async function conclude(environment: string, version: number, damage: string | null): Promise<void> {
    const { damage: said, suspectedBy: node } = marks.get(environment, version)
    const fileName = tarballFileName(environment, version)
    await marks.set(environment, version, { damage, suspectedBy: null })
    if (damage !== null) console.error(`[hakuriver] [versions] the Host finds ${fileName} damaged, and gives it to nobody: ${damage}`)
    else if (node !== null) {
      refuted.add(`${fileName} ${node}`)
      console.error(`[hakuriver] [versions] ${node} says: ${said} The Host reads ${fileName} well: check the mount, memory or disk of ${node}`)
    }
    events.emit('verdict', { environment, version })
  }

  /** What came of it may be known already when its turn comes: then there is nothing left to do. */
  async function investigate(environment: string, version: number): Promise<void> {
    const mark = () => marks.get(environment, version)
    if (mark().suspectedBy === null) return
    const { damage, isCertain } = await look(options, { environment, version, signal: closing.signal })
    // It may have been removed meanwhile.
    if (mark().suspectedBy === null) return
    if (isCertain) return conclude(environment, version, damage)
    console.error(`[hakuriver] [versions] ${tarballFileName(environment, version)} can be read to its end; it has no digests to compare, so it stays held back. "hakuriver env verify ${environment}@${version}" lifts that.`)
    await marks.set(environment, version, { suspectedBy: null })
    events.emit('verdict', { environment, version })
  }

  async function investigateUntilDone(environment: string, version: number): Promise<void> {
    const fileName = tarballFileName(environment, version)
    while (!closing.signal.aborted) {
      try {
        return await turns.take(fileName, () => investigate(environment, version))
      } catch (error) {
        if (closing.signal.aborted) return
        if (isHakuError(error, 'tarball.not_found')) return marks.forget(environment, version)
        console.error(`[hakuriver] [versions] ${fileName} is held back, and can not be read now to see whether it is damaged: ${errorMessage(error)} This is tried again.`)
        await setTimeout(RETRY_MS, undefined, { signal: closing.signal, ref: false }).catch(() => undefined)
      }
    }
  }

  const investigations = new Set<Promise<void>>()
  function investigateSoon(environment: string, version: number): void {
    const investigation = investigateUntilDone(environment, version)
      .catch((error: unknown) => console.error(`[hakuriver] [versions] ${tarballFileName(environment, version)} stays held back: ${errorMessage(error)} "hakuriver env verify ${environment}@${version}" looks again.`))
      .finally(() => investigations.delete(investigation))
    investigations.add(investigation)
  }

  async function verify(environment: string, version: number, context: OperationContext): Promise<Version> {
    await context.report({ phase: 'verify', message: 'once nobody else does' })
    await turns.take(tarballFileName(environment, version), async () => {
      context.signal.throwIfAborted()
      const { damage } = await look(options, {
        environment, version, signal: context.signal,
        onProgress: (bytes, totalBytes) => void context.report({ phase: 'verify', bytes, totalBytes }),
      })
      await conclude(environment, version, damage)
      if (damage !== null) throw new HakuError('tarball.damaged', damage)
    })
    return versions.describe(environment, version)
  }

  return {
    events,
    async suspect({ environment, version, damage, node }) {
      const fileName = tarballFileName(environment, version)
      if (marks.get(environment, version).damage !== null) return
      if (refuted.has(`${fileName} ${node}`)) {
        console.error(`[hakuriver] [versions] ${node} says again: ${damage} The Host has read ${fileName} well: check the mount, memory or disk of ${node}`)
        return
      }
      console.error(`[hakuriver] [versions] ${fileName} is held back until the Host has read it itself: ${node} says: ${damage}`)
      await marks.set(environment, version, { damage, suspectedBy: node })
      investigateSoon(environment, version)
    },
    async start(environment, version) {
      await versions.describe(environment, version)
      return operations.start('verify_version', environment, (context) => verify(environment, version, context), { shared: true })
    },
    recover() {
      for (const { environment, version } of marks.suspects()) investigateSoon(environment, version)
    },
    async close() {
      closing.abort(new Error('the Host stops'))
      await Promise.all(investigations)
    },
  }
}

// --- internal ---

/** Between two tries to reach a storage that is away. */
const RETRY_MS = 30_000

interface Look {
  environment: string
  version: number
  signal: AbortSignal
  onProgress?: (bytes: number, totalBytes: number) => void
}

interface Finding {
  damage: string | null
  /** Not so for a tarball of other tools that is whole: only an Engine can tell whether it holds an image. */
  isCertain: boolean
}

async function look({ tarballs }: VerificationsOptions, { environment, version, signal, onProgress }: Look): Promise<Finding> {
  try {
    const manifest = await tarballs.readManifest(environment, version)
    if (!manifest) return { damage: await readThrough(tarballs, { environment, version, signal, ...(onProgress && { onProgress }) }), isCertain: false }
    const totalBytes = bytesOf(manifest.layers)
    await checkLayers(manifest, manifest.layers, { tarballs, signal, onProgress: (bytes) => onProgress?.(bytes, totalBytes) })
    return { damage: null, isCertain: true }
  } catch (error) {
    if (!isHakuError(error, 'tarball.damaged')) throw error
    return { damage: error.message, isCertain: true }
  }
}

/** Whether an archive can be read to its end. */
async function readThrough(tarballs: TarballStore, { environment, version, signal, onProgress }: Look): Promise<null> {
  const totalBytes = (await tarballs.find(environment, version))?.size ?? 0
  const source = await tarballs.read(environment, version)
  let bytes = 0
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      signal.throwIfAborted()
      bytes += chunk.length
      onProgress?.(bytes, totalBytes)
      yield chunk
    }
  }
  try {
    for await (const { entry } of readTar(counted())) void entry
    return null
  } catch (error) {
    if (!isHakuError(error, 'tarball.damaged')) throw error
    throw new HakuError('tarball.damaged', `${tarballFileName(environment, version)} is damaged: ${error.message}`, { cause: error })
  }
}
