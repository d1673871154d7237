import type { VersionDetails } from '#core/api/schemas.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { missingLayers } from '#core/tarballs/chains.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import type { LoadBytes } from '../scheduler/types.ts'

/** How much of a version each node would have to load, worked out when the planner asks. */
export interface VersionLoads extends LoadBytes {
  /** Reads what is not known yet of these versions, and looks again for all that were missing a while ago. */
  prepare(versions: readonly VersionName[]): Promise<void>
  /** Looks whether they are in the storage still, unless that was done a moment before `since` (of `performance.now()`) or later. Resolves to whether it had to look. */
  confirm(versions: readonly VersionName[], since: number): Promise<boolean>
  /** Whether one was missing when it was last looked for. */
  isAnyMissing(): boolean
  /** Why a version can not be given to a node now: it is not in the storage. */
  troubleOf(key: string): string | null
}

/** After so long a missing version is looked for again. */
export const MISSING_AGAIN_MS = 10_000
/** For so long a version counts as seen. */
const CONFIRMED_MS = 1000
const MAX_KNOWN = 1000

export interface VersionName {
  environment: string
  version: number
}

export interface VersionLoadsOptions {
  nodes: Pick<Nodes, 'find'>
  details(environment: string, version: number): Promise<Loaded>
}

export function createVersionLoads({ nodes, details }: VersionLoadsOptions): VersionLoads {
  const known = new Map<string, Known>()

  async function read(key: string, { environment, version }: VersionName): Promise<void> {
    const before = known.get(key)
    // Whoever comes meanwhile does not look as well.
    if (before) before.readAt = performance.now()
    try {
      const found = await details(environment, version)
      const onNodes = before?.version.size === found.size ? before.onNodes : new Map<string, OnNode>()
      known.set(key, { version: found, onNodes, trouble: null, readAt: performance.now() })
    } catch (error) {
      // A storage that is away is the nodes' trouble too, and they wait for it.
      const isMissing = isHakuError(error, 'tarball.not_found', 'environment.no_version')
      if (!isMissing && before?.trouble !== null) console.error(`[hakuriver] [queue] how much nodes lack of ${key} is not known: ${errorMessage(error)}`)
      const unknown = { version: { environment, version, size: 0, layers: [] }, onNodes: new Map<string, OnNode>() }
      known.set(key, { ...(before ?? unknown), trouble: isMissing ? errorMessage(error) : null, readAt: performance.now() })
    }
  }

  return {
    async prepare(versions) {
      if (known.size > MAX_KNOWN) known.clear()
      const wanted = new Map(versions.map((each) => [versionKey(each), each]))
      for (const [key, { version, trouble, readAt }] of known) if (trouble !== null && performance.now() - readAt >= MISSING_AGAIN_MS) wanted.set(key, version)
      const unknown = [...wanted].filter(([key]) => known.get(key)?.trouble !== null)
      await Promise.all(unknown.map(([key, each]) => read(key, each)))
    },
    async confirm(versions, since) {
      const due = new Map(versions.map((each) => [versionKey(each), each] as const).filter(([key]) => since - (known.get(key)?.readAt ?? -Infinity) >= CONFIRMED_MS))
      await Promise.all([...due].map(([key, each]) => read(key, each)))
      return due.size > 0
    },
    isAnyMissing: () => [...known.values()].some(({ trouble }) => trouble !== null),
    troubleOf: (key) => known.get(key)?.trouble ?? null,
    get(key) {
      const version = known.get(key)
      return version && { get: (hostname) => lackingOn(version, nodes.find(hostname)) }
    },
  }
}

export function versionKey({ environment, version }: VersionName): string {
  return `${environment}-${version}`
}

type Loaded = Pick<VersionDetails, 'environment' | 'version' | 'size' | 'layers'>

/** What a node would have to read of a version. */
export function bytesToSync({ environment, version, size, layers }: Loaded, node: Pick<NodeRecord, 'images' | 'layers'>): number {
  if (node.images.some((image) => image.environment === environment && image.version === version)) return 0
  // A tarball made by other tools is read whole.
  return layers.length === 0 ? size : missingLayers(layers, node.layers).reduce((sum, layer) => sum + layer.size, 0)
}

// --- internal ---

interface Known {
  trouble: string | null
  readAt: number
  version: Loaded
  /** What came out for a node, and with which of its holdings. */
  onNodes: Map<string, OnNode>
}
type OnNode = Pick<NodeRecord, 'layers' | 'images'> & { bytes: number }

function lackingOn({ version, onNodes }: Known, node: NodeRecord | undefined): number | undefined {
  if (!node) return undefined
  const { layers, images } = node
  const before = onNodes.get(node.hostname)
  if (before?.layers === layers && before.images === images) return before.bytes
  const bytes = bytesToSync(version, node)
  onNodes.set(node.hostname, { layers, images, bytes })
  return bytes
}
