import { createHash } from 'node:crypto'
import { z } from 'zod'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { blobPath } from '#core/tarballs/documents.ts'
import { MAX_IMAGE_LAYERS } from '#core/tarballs/manifest.ts'
import type { SpooledLayer } from '#core/tarballs/spool.ts'
import { refused } from './refusal.ts'
import { runConfig } from './run-config.ts'
import type { UntrustedArchive } from './take-apart.ts'

/** The one image of an archive, everything in it checked against everything else. */
export interface ImportedImage {
  /** The configuration, byte for byte. */
  config: string
  author: string
  architecture: string
  /** Lowest first. */
  layers: SpooledLayer[]
  /** What it was called where it comes from; empty if nothing tells. */
  reference: string
}

/** @throws `import.refused` */
export function findImage(archive: UntrustedArchive): ImportedImage {
  try {
    return checkImage(archive, onlyImage(archive))
  } catch (error) {
    if (isHakuError(error)) throw error
    throw refused(`it makes no sense as an image (${error instanceof z.ZodError ? firstIssue(error) : errorMessage(error)})`, error)
  }
}

// --- internal ---

/** An image by the names of its parts in the archive. */
interface NamedImage {
  config: string
  layers: string[]
  references: string[]
}

const MAX_CONFIG_BYTES = 1024 * 1024
/** Parsed, brackets take thirty times what they take as text. */
const MAX_INDEX_BYTES = 2 * 1024 * 1024

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)
const savedManifest = z.array(z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }))
const descriptor = z.object({ digest: z.string(), platform: z.object({ os: z.string(), architecture: z.string() }).nullish(), annotations: z.record(z.string(), z.string()).nullish() })
const indexDocument = z.object({ manifests: z.array(descriptor) })
const imageManifest = z.object({ config: z.object({ digest }), layers: z.array(z.object({ digest })) })
const imageConfig = z.object({
  architecture: z.string().min(1),
  os: z.string(),
  variant: z.string().nullish(),
  author: z.string().nullish(),
  config: runConfig.nullish(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digest) }),
})

function firstIssue({ issues: [issue] }: z.ZodError): string {
  return issue ? `${issue.path.map(String).join('.') || 'all of it'}: ${issue.message}` : 'for no reason that is known'
}

/** Those that both tables name have to be the same: which one counts would depend on the Engine. */
function onlyImage(archive: UntrustedArchive): NamedImage {
  const { documents } = archive
  const saved = documents.has('manifest.json') ? savedImages(documents) : undefined
  const indexed = documents.has('index.json') ? indexedImages(documents, 'index.json', 0) : undefined
  if (!saved && !indexed) throw refused('it has neither a manifest.json nor an index.json: it was not made by docker save, podman save or skopeo. What docker export writes is a file system and no image; make one of it with docker import, and save that')
  const images = uniqueImages([...(saved ?? []), ...(indexed ?? [])])
  const [image] = images
  if (!image) throw refused('it holds no image')
  if (images.length > 1) throw refused(`it holds ${images.length} images (${images.map(nameOf).join(', ')}). Save the one that is meant alone`)
  return image
}

function savedImages(documents: UntrustedArchive['documents']): NamedImage[] {
  return savedManifest.parse(readJson(documents, 'manifest.json')).map(({ Config, RepoTags, Layers }) => ({ config: Config, layers: Layers, references: RepoTags ?? [] }))
}

/** An index may name further indexes, platforms that are not in the archive, and attestations, which are no images. */
function indexedImages(documents: UntrustedArchive['documents'], name: string, depth: number): NamedImage[] {
  if (depth > 3) throw refused('its indexes are nested too deeply')
  return indexDocument.parse(readJson(documents, name)).manifests.flatMap((each) => {
    const path = blobPath(each.digest)
    if (!documents.has(path) || each.platform?.os === 'unknown' || each.annotations?.['vnd.docker.reference.type'] !== undefined) return []
    const manifest = imageManifest.safeParse(readJson(documents, path))
    const own = [each.annotations?.['io.containerd.image.name'], each.annotations?.['org.opencontainers.image.ref.name'], each.platform && `${each.platform.os}/${each.platform.architecture}`].find((text) => typeof text === 'string' && text !== '')
    const references = typeof own === 'string' ? [own] : []
    if (!manifest.success) return indexedImages(documents, path, depth + 1).map((image) => ({ ...image, references: [...references, ...image.references] }))
    const { config, layers } = manifest.data
    return documents.has(blobPath(config.digest)) ? [{ config: blobPath(config.digest), layers: layers.map((layer) => blobPath(layer.digest)), references }] : []
  })
}

/** By their configuration: the same image under two names is one. */
function uniqueImages(images: readonly NamedImage[]): NamedImage[] {
  const unique = new Map<string, NamedImage>()
  for (const image of images) if (!unique.has(hexOf(image.config) ?? image.config)) unique.set(hexOf(image.config) ?? image.config, image)
  return [...unique.values()]
}

function nameOf({ references, config }: NamedImage): string {
  return references.length > 0 ? references.map(quote).join(' ') : quote(config)
}

function checkImage(archive: UntrustedArchive, { config: configName, layers: names, references }: NamedImage): ImportedImage {
  const bytes = archive.documents.get(configName)
  if (!bytes) throw refused(`its configuration ${quote(configName)} is not in it`)
  const [expected, found] = [hexOf(configName), createHash('sha256').update(bytes).digest('hex')]
  if (expected !== undefined && expected !== found) throw refused(`its configuration ${quote(configName)} has the digest ${found}`)
  if (bytes.length > MAX_CONFIG_BYTES) throw refused('its configuration is larger than 1 MiB')
  const config = readConfig(JSON.parse(String(bytes)))
  if (config.os !== 'linux') throw refused(`it is an image for ${quote(config.os)}, and only those for linux run here`)
  const { diff_ids: diffIds } = config.rootfs
  if (diffIds.length !== names.length) throw refused(`its configuration names ${diffIds.length} layers and its manifest ${names.length}`)
  if (diffIds.length === 0 || diffIds.length > MAX_IMAGE_LAYERS) throw refused(`it has ${diffIds.length} layers, and an Engine takes 1 to ${MAX_IMAGE_LAYERS}. Squash it, or build it with fewer layers`)
  const layers = names.map((name, index) => {
    const layer = archive.layers.get(archive.links.get(name) ?? name)
    if (!layer) throw refused(`its layer ${quote(name)} is not in it`)
    if (layer.digest !== diffIds[index]) throw refused(`its layer ${quote(name)} is ${layer.digest}, and its configuration says ${diffIds[index]}`)
    return layer
  })
  return { config: String(bytes), author: config.author ?? '', architecture: config.architecture, layers, reference: references[0] ?? '' }
}

function readConfig(json: unknown): z.infer<typeof imageConfig> {
  const { data, error } = imageConfig.safeParse(json)
  if (error) throw refused(`its configuration makes no sense (${firstIssue(error)})`, error)
  return data
}

function readJson(documents: UntrustedArchive['documents'], name: string): unknown {
  const bytes = documents.get(name)
  if (!bytes) throw refused(`${name} is not in it`)
  if (bytes.length > MAX_INDEX_BYTES) throw refused(`${name} is larger than any list of images`)
  return JSON.parse(String(bytes))
}

/** A configuration is named by its digest in every layout but one. */
function hexOf(name: string): string | undefined {
  return /^(?:blobs\/sha256\/|sha256:)?(?<hex>[0-9a-f]{64})(?:\.json)?$/.exec(name)?.groups?.['hex']
}
