import { createHash } from 'node:crypto'
import { readTar } from '#core/tarballs/tar/read.ts'
import type { FileRecord } from './file-tree.ts'

/** Has a layer read by `work`, from wherever it is. */
export type ReadLayer = (digest: string, work: (source: AsyncIterable<Uint8Array>) => Promise<void>) => Promise<void>

/** What is to be read of files in layers, and what was found. */
export interface Contents {
  /** Asks for the digest of a file. */
  wantDigest(record: FileRecord): void
  /** Asks for a file as text. */
  wantText(record: FileRecord): void
  /** Reads each layer that something was asked of once, and no further than needed. */
  read(read: ReadLayer, signal: AbortSignal): Promise<void>
  digestOf(record: FileRecord): string | undefined
  /** Empty if it was not found, or is larger than any list of packages. */
  textOf(record: FileRecord): string
}

/** A list of ten thousand packages has 20 MB. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024

export function createContents(): Contents {
  const wanted = new Map<string, Map<string, 'digest' | 'text'>>()
  const digests = new Map<string, string>()
  const texts = new Map<string, string>()

  function want({ layer, source }: FileRecord, what: 'digest' | 'text'): void {
    const paths = wanted.get(layer) ?? new Map<string, 'digest' | 'text'>()
    if (paths.get(source) !== 'text') paths.set(source, what)
    wanted.set(layer, paths)
  }

  async function readLayer(layer: string, paths: Map<string, 'digest' | 'text'>, source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    for await (const { entry, content } of readTar(source)) {
      signal.throwIfAborted()
      const what = entry.type === 'file' ? paths.get(entry.path) : undefined
      if (what === undefined) continue
      const hash = createHash('sha256')
      const chunks: Buffer[] = []
      for await (const chunk of content) {
        hash.update(chunk)
        if (what === 'text' && entry.size <= MAX_TEXT_BYTES) chunks.push(Buffer.from(chunk))
      }
      digests.set(keyOf(layer, entry.path), hash.digest('hex'))
      if (what === 'text') texts.set(keyOf(layer, entry.path), Buffer.concat(chunks).toString('utf8'))
      paths.delete(entry.path)
      if (paths.size === 0) return
    }
  }

  return {
    wantDigest: (record) => want(record, 'digest'),
    wantText: (record) => want(record, 'text'),
    async read(read, signal) {
      for (const [layer, paths] of wanted) await read(layer, (source) => readLayer(layer, paths, source, signal))
      wanted.clear()
    },
    digestOf: ({ layer, source }) => digests.get(keyOf(layer, source)),
    textOf: ({ layer, source }) => texts.get(keyOf(layer, source)) ?? '',
  }
}

// --- internal ---

function keyOf(layer: string, source: string): string {
  return `${layer} ${source}`
}
