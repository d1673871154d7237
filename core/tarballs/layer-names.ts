import { createHash } from 'node:crypto'

export interface LayerNames {
  /**
   * The digest that the layer under this name in an Engine's archive should have once it is plain; `undefined` if nobody can tell,
   * `unwanted` if it is not of the image.
   */
  digestOf(name: string, isCompressed: boolean): string | 'unwanted' | undefined
}

/** @param diffIds of the image, lowest first; `undefined` if they are not known */
export function createLayerNames(diffIds: readonly string[] | undefined): LayerNames {
  const legacyDigest = createLegacyNames(diffIds ?? [])
  return {
    digestOf(name, isCompressed) {
      const [first = '', ...others] = name.split('/')
      if (first !== 'blobs') return legacyDigest(first)
      if (isCompressed) return undefined
      const digest = `sha256:${others.at(-1) ?? ''}`
      return diffIds && !diffIds.includes(digest) ? 'unwanted' : digest
    },
  }
}

// --- internal ---

/**
 * Which layer a folder of a legacy archive (Engine before 25) holds: its name is a digest over the layers below it
 * (moby/moby `image/v1/imagev1.go` `CreateID`), so all but the topmost can be computed from the diff ids. The topmost is the one that is left.
 *
 * A guess, which saves reading the archive a second time when it is right. Every digest is checked afterwards.
 *
 * @param diffIds of the image, lowest first
 */
function createLegacyNames(diffIds: readonly string[]): (folder: string) => string | undefined {
  const known = new Map<string, string>()
  let chain = ''
  let parent = ''
  for (const diffId of diffIds.slice(0, -1)) {
    chain = chain === '' ? diffId : `sha256:${sha256(`${chain} ${diffId}`)}`
    parent = sha256(legacyConfig(chain, parent))
    known.set(parent, diffId)
  }
  return (folder) => known.get(folder) ?? diffIds.at(-1)
}

const EMPTY_CONTAINER =
  '{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null}'

/** Byte for byte what the Engine hashes. */
function legacyConfig(chain: string, parent: string): string {
  const above = parent === '' ? '' : `,"parent":"sha256:${parent}"`
  return `{"container_config":${EMPTY_CONTAINER},"created":"1970-01-01T00:00:00Z","layer_id":"${chain}"${above}}`
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
