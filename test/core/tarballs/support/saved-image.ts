import { createHash } from 'node:crypto'
import { z } from 'zod'
import { errorMessage, HakuError } from '#core/errors.ts'
import { blobPath } from '#core/tarballs/documents.ts'
import type { SpooledArchive } from '#core/tarballs/engine-archive.ts'

type Documents = SpooledArchive['documents']

/**
 * The configuration of the one image in an Engine's archive: by `manifest.json` where there is one, else by the OCI index.
 *
 * @throws `tarball.damaged`
 */
export function findConfig(documents: Documents): unknown {
  try {
    return documents.has('manifest.json') ? byManifest(documents) : byIndex(documents)
  } catch (error) {
    throw new HakuError('tarball.damaged', `The archive is not one image: ${errorMessage(error)}.`, { cause: error })
  }
}

// --- internal ---

const CONFIG_NAME_RE = /^(?:blobs\/sha256\/)?(?<digest>[0-9a-f]{64})(?:\.json)?$/

const savedManifest = z.array(z.object({ Config: z.string() })).length(1)

const descriptor = z.object({ digest: z.string(), platform: z.object({ os: z.string() }).optional(), annotations: z.record(z.string(), z.string()).optional() })
const indexDocument = z.object({ manifests: z.array(descriptor) })
const manifestDocument = z.object({ config: z.object({ digest: z.string() }) })

function byManifest(documents: Documents): unknown {
  const [image] = savedManifest.parse(readJson(documents, 'manifest.json'))
  return readConfig(documents, image?.Config ?? '')
}

function byIndex(documents: Documents): unknown {
  const configs = imagesOf(documents, 'index.json', 0)
  const [config] = configs
  if (config === undefined || configs.length > 1) throw new Error(`it holds ${configs.length} images`)
  return readConfig(documents, config)
}

/** An index may name further indexes, platforms that are not in the archive, and attestations, which are no images. */
function imagesOf(documents: Documents, name: string, depth: number): string[] {
  if (depth > 3) throw new Error('its indexes are nested too deeply')
  const { manifests } = indexDocument.parse(readJson(documents, name))
  const found = manifests.flatMap(({ digest, platform, annotations }) => {
    const path = blobPath(digest)
    if (!documents.has(path) || platform?.os === 'unknown' || annotations?.['vnd.docker.reference.type'] !== undefined) return []
    const manifest = manifestDocument.safeParse(readJson(documents, path))
    if (!manifest.success) return imagesOf(documents, path, depth + 1)
    const config = blobPath(manifest.data.config.digest)
    return documents.has(config) ? [config] : []
  })
  return [...new Set(found)]
}

/** A config is named by its own digest in every layout. */
function readConfig(documents: Documents, name: string): unknown {
  const expected = CONFIG_NAME_RE.exec(name)?.groups?.['digest']
  const found = createHash('sha256').update(documents.get(name) ?? '').digest('hex')
  if (documents.has(name) && expected !== undefined && expected !== found) throw new Error(`its configuration ${name} has the digest ${found}`)
  return readJson(documents, name)
}

function readJson(documents: Documents, name: string): unknown {
  const bytes = documents.get(name)
  if (!bytes) throw new Error(`${name === '' ? 'its configuration' : name} is missing`)
  return JSON.parse(String(bytes))
}
