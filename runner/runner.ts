import { setMaxListeners } from 'node:events'
import { mkdirSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { Execution, Health } from '#core/api/schemas.ts'
import type { Config } from '#core/config/schema.ts'
import { createDockerEngine } from '#core/engine/docker.ts'
import { errorMessage, HakuError } from '#core/errors.ts'
import type { StreamAnswer } from '#core/http/endpoint-handler.ts'
import { problemOf } from '#core/http/problems.ts'
import { createId } from '#core/ids.ts'
import { isNodeName, quote } from '#core/names.ts'
import { hostStatePaths, runnerStatePaths, sharedPaths } from '#core/paths.ts'
import { assertSharedDirectory } from '#core/shared-directory.ts'
import { openTarballStore } from '#core/tarballs/open-store.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { openOutput, outputHeaders, type OutputPart } from '#core/tasks/output-file.ts'
import { parseSize } from '#core/tasks/sizes.ts'
import { readOrCreateToken } from '#core/tokens.ts'
import { httpUrl } from '#core/urls.ts'
import { version } from '#core/version.ts'
import { createExecutors } from './executors/create-executors.ts'
import { createTasks, type Tasks } from './executors/tasks.ts'
import { createEngineProbe } from './hardware/engine-info.ts'
import { openKernelLog } from './hardware/kernel-log.ts'
import { createUsageMeter, readHardware } from './hardware/usage.ts'
import { createLink } from './host/link.ts'
import { openRunnerState } from './state/state.ts'
import { createSweeper } from './sweeper.ts'
import { createHoldingsProbe } from './sync/holdings.ts'
import { createImages } from './sync/images.ts'
import { openLayerCache } from './sync/sharing/layer-cache.ts'
import { createSharedLayers } from './sync/sharing/shared-layers.ts'
import { createInventory } from './sync/inventory.ts'
import { createPrefetches, type Prefetches } from './sync/prefetches.ts'

/** Every service of a Runner, made once. */
export interface Runner {
  tasks: Tasks
  prefetches: Prefetches
  /** A part of what an execution has printed, for a Host that does not see the shared directory. @throws `storage.unavailable` */
  openOutput(part: Execution & OutputPart & { stream: OutputChannel }): Promise<StreamAnswer>
  /** A layer for a neighbour. @throws `layer.not_found` */
  openLayer(digest: string): Promise<Readable>
  /** The secret that the Host shows when it calls this Runner. */
  hostToken: string
  /** Where the Host is expected. */
  hostUrl: string
  health(): Promise<Health>
  /** Takes up what an earlier Runner left, registers and beats. Called once the server listens. */
  start(): void
  /** Containers run on; what is known is on the disk when it resolves. */
  close(): Promise<void>
}

/** Longer than an answer of the Engine; what is cut off then is found again at the next start. */
const SETTLE_MS = 3000

/**
 * Makes the Runner's services from its configuration. Neither Host nor Engine have to be there.
 *
 * @throws `config.invalid`, `storage.unavailable`, `internal.error` (state)
 */
export async function createRunner(config: Config): Promise<Runner> {
  const { hostname } = config.runner
  if (!isNodeName(hostname)) throw new HakuError('config.invalid', `The name of this node, ${quote(hostname)}, is not valid: letters, digits, ".", "_" and "-", 63 at most. Set runner.hostname.`)
  const paths = sharedPaths(config.paths.shared_dir, config.docker.container_dir)
  await assertDirectory(paths.root)
  const files = runnerStatePaths(config.paths.state_dir)
  makeStateDirectory(files.root)
  const hostToken = readOrCreateToken(files.hostToken)
  const hostUrl = httpUrl(config.network.host_reachable_address, config.network.host_port)

  const stopping = new AbortController()
  const closing = stopping.signal
  // Each task under way listens.
  setMaxListeners(0, closing)
  const engine = createDockerEngine({ socketPath: config.docker.socket })
  const state = await openRunnerState(files.database)
  const tarballs = await openTarballStore(config, hostname)
  const inventory = createInventory({ engine, state })
  const limitBytes = config.docker.image_cache_limit === '' ? undefined : parseSize(config.docker.image_cache_limit)
  const self = { hostname, instanceId: createId() }
  const neighbours = config.runner.share_layers
    ? createSharedLayers({ cache: await openLayerCache(files.layers, parseSize(config.runner.share_layers_limit)), self, host: () => link.client() })
    : undefined
  const images = createImages({ engine, state, inventory, tarballs, neighbours, limitBytes, closing })
  const prefetches = createPrefetches(images, closing)
  const hardware = await readHardware({ plainProcesses: config.runner.plain_processes })
  const kernelLog = openKernelLog()
  const services = { state, paths, hostname, localTempDir: config.paths.local_temp_dir, closing }
  const { executors, sweep, close } = createExecutors({ config, services, engine, images, files, hardware, kernelLog })
  const tasks = createTasks({ services, executors, images, takesPlain: config.runner.plain_processes, onNews: (urgent) => link.news(urgent) })

  const sweepLater = createSweeper(async () => {
    await sweep()
    await images.sweep()
  }, closing)

  const link = createLink({
    url: hostUrl,
    tokenFile: config.auth.token_file || hostStatePaths(files.root).runnerToken,
    self: {
      ...self,
      url: httpUrl(config.network.runner_address, config.network.runner_port),
      hostToken,
      hardware,
      runnerVersion: version,
    },
    engineFacts: createEngineProbe(engine),
    holdings: createHoldingsProbe({ inventory, state }),
    usage: createUsageMeter(),
    active: tasks.active,
    outbox: tasks.outbox,
    acknowledge: tasks.acknowledge,
    disown: tasks.disown,
    retell: tasks.retell,
    onRegistered(heartbeatSeconds) {
      sweepLater(heartbeatSeconds)
      void neighbours?.tell()
    },
    closing,
  })

  async function settle(): Promise<void> {
    await tasks.settled()
    // The next Runner comes back to what is left.
    await close().catch((error: unknown) => console.error(`[hakuriver] [runner] containers that wait for further items could not be removed: ${errorMessage(error)}`))
  }

  let linked: Promise<void> = Promise.resolve()
  return {
    tasks,
    prefetches,
    async openOutput({ id, instance, stream, ...part }) {
      await assertSharedDirectory(paths)
      const output = await openOutput(paths[stream](id, instance), part)
      return { stream: output?.bytes ?? Readable.from([]), headers: { [outputHeaders.offset]: String(output?.offset ?? 0) } }
    },
    async openLayer(digest) {
      if (!neighbours) throw new HakuError('layer.not_found', 'This node does not share layers: runner.share_layers is off.')
      return neighbours.open(digest)
    },
    hostToken,
    hostUrl,
    async health() {
      const checks = await Promise.allSettled([engine.info(), assertSharedDirectory(paths)])
      const failures: unknown[] = checks.flatMap((check) => (check.status === 'rejected' ? [check.reason as unknown] : []))
      const problems = [...failures, link.trouble()].filter((failure) => failure !== undefined).map(problemOf)
      return { status: problems.length === 0 ? 'ok' : 'degraded', version, problems }
    },
    start() {
      tasks.recover()
      linked = link.run()
    },
    async close() {
      stopping.abort(new HakuError('host.stopping', 'The Runner is stopping.'))
      await linked
      await Promise.race([settle(), setTimeout(SETTLE_MS, undefined, { ref: false })])
      kernelLog?.close()
      await state.close()
    },
  }
}

// --- internal ---

/** Its mark is looked for later: this Runner may be started before the Host ever was. */
async function assertDirectory(root: string): Promise<void> {
  const isDirectory = await stat(root).then((stats) => stats.isDirectory(), () => false)
  if (!isDirectory) throw new HakuError('storage.unavailable', `The shared directory ${root} does not exist on this node. Mount it, or set paths.shared_dir.`)
}

function makeStateDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new HakuError('config.invalid', `The state directory ${directory} can not be made: ${error instanceof Error ? error.message : String(error)}. Set paths.state_dir.`, { cause: error })
  }
}
