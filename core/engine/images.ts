import type { Readable } from 'node:stream'
import { z } from 'zod'
import { type ErrorCode, HakuError, isHakuError } from '../errors.ts'
import { printable, quote } from '../names.ts'
import { readAnswer } from './answers.ts'
import type { Engine, ImageDetails, TransferProgress } from './engine.ts'
import { refusalCode } from './errors.ts'
import { segment, type Transport } from './transport.ts'

type ImageCalls = Pick<Engine, 'listImages' | 'inspectImage' | 'pullImage' | 'tagImage' | 'removeImage' | 'saveImage' | 'loadImage'>

const imageConfig = z.looseObject({ Labels: z.record(z.string(), z.string()).nullish() })
const inspectAnswer = z.object({
  Id: z.string(),
  RepoTags: z.array(z.string()).nullish(),
  Size: z.number(),
  Architecture: z.string(),
  Variant: z.string().nullish(),
  Os: z.string(),
  RootFS: z.object({ Layers: z.array(z.string()).nullish() }),
  Config: imageConfig.nullish(),
})
const listAnswer = z.array(z.object({ Id: z.string(), Labels: z.record(z.string(), z.string()).nullish() }))
const progressLine = z.object({
  status: z.string().optional(),
  id: z.string().optional(),
  stream: z.string().optional(),
  error: z.string().optional(),
  progressDetail: z.object({ current: z.number().optional(), total: z.number().optional() }).nullish(),
})
type ProgressLine = z.infer<typeof progressLine>

/** What of the {@link Engine} is about images. */
export function imageCalls(transport: Transport): ImageCalls {
  return {
    async listImages() {
      const what = 'list the images'
      const images = readAnswer(listAnswer, await transport.call({ method: 'GET', path: '/images/json', what, query: { all: true } }), what)
      return images.map(({ Id, Labels }) => ({ id: Id, labels: Labels ?? {} }))
    },

    async inspectImage(reference) {
      const what = `inspect the image ${quote(reference)}`
      try {
        return toDetails(readAnswer(inspectAnswer, await transport.call({ method: 'GET', path: `/images/${segment(reference)}/json`, what }), what))
      } catch (error) {
        if (isHakuError(error, 'image.not_found')) return undefined
        throw error
      }
    },

    async pullImage(reference, { signal, onProgress }) {
      const { name, tag } = splitReference(reference)
      const what = `pull the image ${quote(reference)}`
      const lines = await transport.open({ method: 'POST', path: '/images/create', what, query: { fromImage: name, tag }, signal }).catch(asPullError)
      const layers = new Map<string, { current: number; total: number }>()
      for await (const line of readLines(lines)) {
        if (line.error !== undefined) throw pullError(reference, line.error)
        onProgress?.(sumProgress(layers, line))
      }
    },

    async tagImage(id, repository, tag) {
      await transport.call({ method: 'POST', path: `/images/${segment(id)}/tag`, what: `tag the image ${quote(id)}`, query: { repo: repository, tag } })
    },

    // Not pruned with it: its parents that have no tag may be the user's own.
    async removeImage(reference) {
      try {
        await transport.call({ method: 'DELETE', path: `/images/${segment(reference)}`, what: `remove the image ${quote(reference)}`, query: { noprune: true } })
      } catch (error) {
        if (!isHakuError(error, 'image.not_found')) throw error
      }
    },

    saveImage: (reference, { signal } = {}) => transport.open({ method: 'GET', path: `/images/${segment(reference)}/get`, what: `save the image ${quote(reference)}`, signal }),

    async loadImage(archive, { signal } = {}) {
      const lines = await transport.open({ method: 'POST', path: '/images/load', what: 'load an image', query: { quiet: true }, upload: archive, signal })
      const loaded: string[] = []
      for await (const line of readLines(lines)) {
        if (line.error !== undefined) throw new HakuError(refusalCode(500, line.error), `Could not load an image. The Docker Engine says: ${printable(line.error.trim())}`)
        const reference = /^Loaded image(?: ID)?: (?<reference>\S+)/.exec(line.stream ?? '')?.groups?.['reference']
        if (reference !== undefined) loaded.push(reference)
      }
      return loaded
    },
  }
}

// --- internal ---

function toDetails(image: z.infer<typeof inspectAnswer>): ImageDetails {
  const config = image.Config ?? {}
  const labels = config.Labels
  return { id: image.Id, tags: image.RepoTags ?? [], labels: labels ?? {}, config, size: image.Size, architecture: image.Architecture, variant: image.Variant ?? '', os: image.Os, layers: image.RootFS.Layers ?? [] }
}

/** A colon after the last slash begins a tag; without one the newest is meant, never all of them. */
function splitReference(reference: string): { name: string; tag: string | undefined } {
  if (reference.includes('@')) return { name: reference, tag: undefined }
  const colon = reference.indexOf(':', reference.lastIndexOf('/') + 1)
  return colon < 0 ? { name: reference, tag: 'latest' } : { name: reference.slice(0, colon), tag: reference.slice(colon + 1) }
}

async function* readLines(stream: Readable): AsyncGenerator<ProgressLine> {
  let pending = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream as AsyncIterable<string>) {
    const lines = (pending + chunk).split('\n')
    pending = lines.pop() ?? ''
    for (const line of lines) if (line.trim()) yield parseLine(line)
  }
  if (pending.trim()) yield parseLine(pending)
}

function parseLine(line: string): ProgressLine {
  const what = 'follow the progress of the Docker Engine'
  try {
    return readAnswer(progressLine, JSON.parse(line), what)
  } catch (error) {
    throw error instanceof HakuError ? error : new HakuError('engine.failed', `Could not ${what}: it sent a line that is not JSON.`, { cause: error })
  }
}

function sumProgress(layers: Map<string, { current: number; total: number }>, line: ProgressLine): TransferProgress {
  const { current, total } = line.progressDetail ?? {}
  // Of the two passes over a layer only the download counts: extracting repeats the same bytes.
  if (line.id !== undefined && line.status === 'Downloading' && current !== undefined) layers.set(line.id, { current, total: total ?? current })
  const known = layers.get(line.id ?? '')
  // The last step of a download has no line of its own.
  if (known && line.status === 'Download complete') known.current = known.total
  const sums = [...layers.values()]
  return { message: line.status ?? '', bytes: sums.reduce((sum, layer) => sum + layer.current, 0), totalBytes: sums.reduce((sum, layer) => sum + layer.total, 0) }
}

function pullError(reference: string, words: string): HakuError {
  const isMissing = /not found|manifest unknown|pull access denied|does not exist|no matching manifest/i.test(words)
  const code: ErrorCode = isMissing ? 'image.not_found' : 'image.pull_failed'
  const cure = isMissing ? 'Check the name and the tag.' : 'Check the network and the registry, or use an image that the Host has.'
  return new HakuError(code, `Could not pull the image ${quote(reference)}. The Docker Engine says: ${printable(words.trim())}. ${cure}`)
}

/** A registry that can not be reached is the Engine's failure, but not the Engine's fault. */
function asPullError(error: unknown): never {
  if (isHakuError(error, 'engine.failed', 'engine.not_found')) throw new HakuError(/not found|denied|manifest unknown/i.test(error.message) ? 'image.not_found' : 'image.pull_failed', error.message, { cause: error })
  throw error
}
