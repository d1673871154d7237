import { setTimeout } from 'node:timers/promises'
import type { Operation, PrefetchBody, PrefetchState, Version, VersionOrder } from '#core/api/schemas.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import type { OperationContext, Operations } from '../operations/operations.ts'
import type { Verifications } from './verifications.ts'
import type { Versions } from './versions.ts'

/** Loading of a version on nodes before a task needs it, as one operation. */
export interface Prefetch {
  /** @throws `environment.no_version`, `tarball.not_found`, `tarball.damaged`, `node.not_found` */
  start(environment: string, body: PrefetchBody): Promise<Operation>
}

export interface PrefetchOptions {
  operations: Operations
  versions: Versions
  verifications: Pick<Verifications, 'suspect'>
  nodes: Pick<Nodes, 'list' | 'get'>
  dispatcher: Dispatcher
}

export function createPrefetch(options: PrefetchOptions): Prefetch {
  const { operations, versions, nodes } = options
  return {
    async start(environment, body) {
      const targets = body.nodes.length > 0 ? [...new Set(body.nodes)].map(nodes.get) : nodes.list().filter(({ online }) => online)
      if (targets.length === 0) throw new HakuError('node.not_found', 'No node is online. "hakuriver.client nodes" shows them.')
      const { version } = await versions.resolve(environment, body.version)
      const work = (context: OperationContext) => versions.use(environment, version, ({ pinned }) => prefetch(options, { order: { environment, version, ...pinned }, targets, context }))
      return operations.start('prefetch_version', environment, work, { shared: true })
    },
  }
}

// --- internal ---

interface Job {
  order: VersionOrder
  targets: readonly NodeRecord[]
  context: OperationContext
}

/** Between two tries to reach a node, and how many of them. */
const RETRY_MS = 1000
const TRIES = 10

async function prefetch(options: PrefetchOptions, { order, targets, context }: Job): Promise<Version> {
  const seen = new Map<string, PrefetchState>()
  const tell = () => void context.report({ phase: 'prefetch', ...progressOf(targets, seen) })
  tell()
  const results = await Promise.allSettled(targets.map(async (node) => {
    if (!node.online) throw new HakuError('node.unreachable', 'it is offline')
    await prefetchOn(options, { node: node.hostname, order, signal: context.signal, onState: (state) => {
      seen.set(node.hostname, state)
      tell()
    } })
  }))
  if (context.signal.aborted) {
    await Promise.allSettled(targets.filter(({ online }) => online).map(({ hostname }) => options.dispatcher.cancelPrefetch(hostname, order)))
    context.signal.throwIfAborted()
  }
  const failures = results.flatMap((result, index) => (result.status === 'rejected' ? [{ hostname: targets[index]?.hostname ?? '', error: result.reason as unknown }] : []))
  await suspect(options.verifications, order, failures)
  assertNone(order, failures, targets.length)
  return options.versions.describe(order.environment, order.version)
}

interface NodeJob {
  node: string
  order: VersionOrder
  signal: AbortSignal
  onState: (state: PrefetchState) => void
}

/** Asks until the version is there. A node that does not answer is asked again, some times: it may be starting again. */
async function prefetchOn({ dispatcher }: PrefetchOptions, { node, order, signal, onState }: NodeJob): Promise<void> {
  for (let failures = 0; ; ) {
    signal.throwIfAborted()
    try {
      const state = await dispatcher.prefetch(node, order, signal)
      onState(state)
      if (state.state === 'ready') return
      failures = 0
    } catch (error) {
      failures += 1
      if (!isHakuError(error, 'node.unreachable') || failures === TRIES) throw error
      await setTimeout(RETRY_MS, undefined, { signal })
    }
  }
}

function progressOf(targets: readonly NodeRecord[], seen: ReadonlyMap<string, PrefetchState>) {
  const states = [...seen.values()]
  const ready = states.filter(({ state }) => state === 'ready').length
  const syncs = states.flatMap(({ state, sync }) => (sync ? [state === 'ready' ? { ...sync, bytes: sync.totalBytes } : sync] : []))
  const trouble = [...seen].find(([, { state, message }]) => state === 'loading' && message !== null)
  return {
    message: `${ready} of ${targets.length} nodes ready${trouble ? `; ${trouble[0]}: ${trouble[1].message}` : ''}`,
    bytes: syncs.reduce((sum, { bytes }) => sum + bytes, 0),
    totalBytes: syncs.reduce((sum, { totalBytes }) => sum + totalBytes, 0),
  }
}

interface Failure {
  hostname: string
  error: unknown
}

async function suspect(verifications: PrefetchOptions['verifications'], { environment, version }: VersionOrder, failures: readonly Failure[]): Promise<void> {
  for (const { hostname, error } of failures) if (isHakuError(error, 'tarball.damaged')) await verifications.suspect({ environment, version, damage: error.message, node: hostname })
}

function assertNone({ fileName }: VersionOrder, failures: readonly Failure[], total: number): void {
  const [first] = failures
  if (!first) return
  const reasons = failures.map(({ hostname, error }) => `${hostname}: ${errorMessage(error)}`).join(' ')
  throw new HakuError(isHakuError(first.error) ? first.error.code : 'internal.error', `${fileName} could not be loaded on ${failures.length} of ${total} nodes. ${reasons}`, { cause: first.error })
}
