import type { ContainerDetails, Engine, ImageDetails } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { spoolArchive } from '#core/tarballs/engine-archive.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { Spool, SpooledLayer } from '#core/tarballs/spool.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { OperationContext } from '../operations/operations.ts'
import { type Basis, findBasis, soundManifest } from './basis.ts'
import { canReadUpperDir, type Capture, captureChanges, NotCapturable } from './capture/capture.ts'
import { diffTrees, type LayerChanges } from './capture/changes.ts'
import { layerHasAny, reduceLayer, treeOfLayer } from './capture/committed.ts'
import { canReadTrees } from './capture/read-tree.ts'
import type { CapturedState, CapturedStates } from './capture/states.ts'
import { sizeOf, type Tree } from './capture/tree.ts'
import type { VersionMarks } from './marks.ts'

/** What a new version consists of: layers that another tarball has, and layers taken from the Engine. */
export interface TakenLayers {
  basis: Basis | undefined
  added: SpooledLayer[]
  baseLayers: number
  /** The writable layer as it was taken, to compare with the next time; `undefined` if that can not be told. */
  tree: Tree | undefined
  /** Where it was read; {@link COMMITTED} if the Engine told it. */
  upperDir: string
}

export interface TakeOptions {
  engine: Engine
  tarballs: TarballStore
  marks: VersionMarks
  states: CapturedStates
  spool: Spool
  container: ContainerDetails
  name: string
  context: OperationContext
  /** The container is stopped from here … */
  stop(): Promise<void>
  /** Throws if somebody else has started it meanwhile: what was read may be of two moments. */
  assertUntouched(): Promise<void>
  /** … to here: it is given back before anything slow is done. */
  giveBack(): Promise<void>
  /** The container as an image. Whoever calls removes it. */
  commit(): Promise<string>
}

/** In place of a directory: the state was taken from a committed layer, and has other signatures. */
const COMMITTED = ''

/** So many layers on the base image. Engines take 125 in all; base images have up to 40. */
const MAX_CHAIN = 64
const MAX_LAYERS = 120
/** Chains shorter than this are not worth a rewrite. */
const MIN_DEAD_BYTES = 64 * 1024 * 1024

/**
 * Takes the change of a container since its last version. Where the Host can read the container's writable layer, only files that changed
 * are read; elsewhere the Engine commits and saves, which costs the whole layer and gives the same file system.
 *
 * @throws `storage.full`, `engine.*`
 */
export async function takeLayers(options: TakeOptions): Promise<TakenLayers> {
  const { engine, container } = options
  const base = await engine.inspectImage(container.imageId)
  const canCapture = base !== undefined && canReadUpperDir(container.upperDir) && !(await engine.info()).mapsUsers && (await canReadTrees())
  if (!canCapture) return takeByCommit(options, base)
  try {
    return await takeByCapture(options, container.upperDir ?? '', base)
  } catch (error) {
    if (!(error instanceof NotCapturable)) throw error
    console.error(`[hakuriver] [packaging] the writable layer of ${options.name} can not be read directly (${error.message}): the Engine commits it instead`)
    return takeByCommit(options, base)
  }
}

// --- internal ---

async function takeByCapture(options: TakeOptions, upperDir: string, base: ImageDetails): Promise<TakenLayers> {
  const { context, stop, giveBack } = options
  const before = await previousState(options, upperDir)
  await stop()
  context.signal.throwIfAborted()
  await context.report({ phase: 'capture' })
  const captured = await capture(upperDir, options, before)
  await options.assertUntouched()
  await giveBack()
  if (before && !captured.isWhole) {
    const { environment, version, layers, baseLayers } = before.manifest
    return { basis: { environment, version, layers }, added: addedOf(captured), baseLayers, tree: captured.tree, upperDir }
  }
  const { basis, added } = await layersOf(options, base, base.layers)
  return { basis, added: [...added, ...addedOf(captured)], baseLayers: base.layers.length, tree: captured.tree, upperDir }
}

interface Before {
  state: CapturedState
  manifest: VersionManifest
}

/** The state that the last version was made of, if that version can still be built on. */
async function previousState({ name, states, container, tarballs, marks }: TakeOptions, upperDir: string): Promise<Before | undefined> {
  const state = await states.load(name)
  if (!state || state.containerId !== container.id || state.upperDir !== upperDir) return undefined
  const manifest = await soundManifest(tarballs, marks, name, state.version)
  return manifest && manifest.layers.length - manifest.baseLayers < MAX_CHAIN && manifest.layers.length < MAX_LAYERS ? { state, manifest } : undefined
}

function addedOf({ layer }: Capture): SpooledLayer[] {
  return layer ? [layer] : []
}

function capture(upperDir: string, { spool, context }: TakeOptions, before: Before | undefined): Promise<Capture> {
  let total: number | null = null
  return captureChanges({
    upperDir,
    spool,
    before: before?.state.tree,
    startsAnew: (tree) => before !== undefined && isMostlyDead(before.manifest, tree),
    signal: context.signal,
    async onSize(bytes) {
      total = bytes
      await spool.assertRoom(bytes)
    },
    onProgress: (bytes) => void context.report({ phase: 'capture', bytes, totalBytes: total === null ? null : Math.max(total, bytes) }),
  })
}

/** Whether most of what the chain holds is not to be seen any more: deleted, or written again. */
function isMostlyDead({ layers, baseLayers }: VersionManifest, tree: Tree): boolean {
  const stored = layers.slice(baseLayers).reduce((sum, { size }) => sum + size, 0)
  let live = 0
  for (const signature of tree.values()) live += sizeOf(signature)
  return stored - live > MIN_DEAD_BYTES && stored > 2 * live
}

async function takeByCommit(options: TakeOptions, base: ImageDetails | undefined): Promise<TakenLayers> {
  const { engine, name, context, stop, giveBack, commit } = options
  const before = await previousState(options, COMMITTED)
  await stop()
  context.signal.throwIfAborted()
  await context.report({ phase: 'commit' })
  const imageId = await commit()
  await options.assertUntouched()
  await giveBack()
  const committed = await engine.inspectImage(imageId)
  if (!committed) throw new HakuError('image.not_found', `The image that was just committed from ${name} is gone. Was it removed by another program?`)
  const isOneAbove = base !== undefined && committed.layers.length === base.layers.length + 1 && base.layers.every((layer, index) => layer === committed.layers[index])
  return isOneAbove ? reduceCommitted(options, { base, committed, before }) : takeWhole(options, { base, committed })
}

interface Committed {
  base: ImageDetails | undefined
  committed: ImageDetails
}

/** The committed layer is the whole writable layer. What of it the version before had is left out. */
async function reduceCommitted(options: TakeOptions, { committed, before }: Committed & { before: Before | undefined }): Promise<TakenLayers> {
  const { context, spool } = options
  const [top] = await save(options, committed, committed.layers.slice(-1))
  if (!top) throw new HakuError('internal.error', 'A committed image has a layer')
  await context.report({ phase: 'compare' })
  const tree = await treeOfLayer(top, context.signal)
  const baseLayers = committed.layers.length - 1
  const changes = before && !isMostlyDead(before.manifest, tree) ? await changesSince(options, before, tree) : undefined
  if (before && changes) {
    const { environment, version, layers } = before.manifest
    const reduced = await reduceLayer(top, changes, spool, context.signal)
    return { basis: { environment, version, layers }, added: reduced ? [reduced] : [], baseLayers: before.manifest.baseLayers, tree, upperDir: COMMITTED }
  }
  const { basis, added } = await layersOf(options, committed, committed.layers.slice(0, baseLayers))
  return { basis, added: [...added, top], baseLayers, tree, upperDir: COMMITTED }
}

/**
 * The containerd store tells only what differs from the base image, so a path that is not told of any more is either gone or as the base image
 * has it. The second would show again, which no layer on top can say.
 */
async function changesSince({ tarballs }: TakeOptions, { state, manifest }: Before, tree: Tree): Promise<LayerChanges | undefined> {
  const changes = diffTrees(state.tree, tree)
  const vanished = new Set(changes?.deleted.filter((path) => !tree.has(path)))
  if (vanished.size === 0) return changes
  for (const { offset, size } of manifest.layers.slice(0, manifest.baseLayers)) {
    if (await layerHasAny(await tarballs.read(manifest.environment, manifest.version, { start: offset, end: offset + size }), vanished)) return undefined
  }
  return changes
}

/** An image that is not the base image and one layer: nothing is known of its layers but their digests. */
async function takeWhole(options: TakeOptions, { base, committed }: Committed): Promise<TakenLayers> {
  return { ...(await layersOf(options, committed, committed.layers)), baseLayers: base?.layers.length ?? 0, tree: undefined, upperDir: COMMITTED }
}

/** Layers of an image, from its lowest up: those that a tarball has from there, the rest from the Engine. */
async function layersOf(options: TakeOptions, image: ImageDetails, diffIds: readonly string[]): Promise<Pick<TakenLayers, 'basis' | 'added'>> {
  const basis = await findBasis({ ...options, environment: options.name, diffIds, signal: options.context.signal })
  const missing = diffIds.slice(basis?.layers.length ?? 0)
  return { basis, added: missing.length === 0 ? [] : await save(options, image, missing) }
}

async function save({ engine, name, context, spool }: TakeOptions, { id, layers }: ImageDetails, missing: readonly string[]): Promise<SpooledLayer[]> {
  await context.report({ phase: 'save' })
  const wanted = new Set(missing)
  const saved = await spoolArchive({
    source: await engine.saveImage(id, { signal: context.signal }),
    spool,
    expectedLayers: layers,
    wanted: (diffId) => wanted.has(diffId),
    signal: context.signal,
    onProgress: (bytes) => void context.report({ phase: 'save', bytes }),
  })
  return missing.map((diffId) => {
    const layer = saved.layers.get(diffId)
    if (!layer) throw new HakuError('tarball.damaged', `The Docker Engine sent the image of ${name} without its layer ${diffId}. Try again; if it stays so, the Engine's storage is damaged.`)
    return layer
  })
}
