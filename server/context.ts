import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { Health } from '#core/api/schemas.ts'
import type { Config } from '#core/config/schema.ts'
import { createGroupWriter } from '#core/database/group-writer.ts'
import { openDatabase } from '#core/database/open.ts'
import { createDockerEngine } from '#core/engine/docker.ts'
import type { Engine } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { hostStatePaths, sharedPaths } from '#core/paths.ts'
import { openTarballStore } from '#core/tarballs/open-store.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { readOrCreateToken } from '#core/tokens.ts'
import { migrations } from './database/migrations.ts'
import type { Tables } from './database/tables.ts'
import { createLayerSources, type LayerSources } from './dispatch/layer-sources.ts'
import { createRunnerDispatcher } from './dispatch/runner-dispatcher.ts'
import { type Containers, createContainers } from './environments/containers.ts'
import { createCapturedStates } from './environments/capture/states.ts'
import { createDeletions, type Deletions } from './environments/deletions.ts'
import { createDiffs, type Diffs } from './environments/diff/diff.ts'
import { createExports, type Exports } from './environments/exports.ts'
import { createForks, type Forks } from './environments/fork.ts'
import { createImports, type Imports } from './environments/import/imports.ts'
import { createVersionMarks } from './environments/marks.ts'
import { createPackaging, type Packaging } from './environments/packaging.ts'
import { removeLateImages, undoOperation } from './environments/recovery.ts'
import { createPrefetch, type Prefetch } from './environments/prefetch.ts'
import { createRollbacks, type Rollbacks } from './environments/rollback.ts'
import { createTrials } from './environments/trial.ts'
import { createVerifications, type Verifications } from './environments/verifications.ts'
import { createVersions, type Versions } from './environments/versions.ts'
import { createExplanations, type Explanations } from './explain/explain.ts'
import { checkHealth } from './health.ts'
import { createNodes, type Nodes } from './nodes/nodes.ts'
import { createOperations, type Operations } from './operations/operations.ts'
import { createNotifications } from './notify/notifications.ts'
import { endedBefore } from './output/ended-tasks.ts'
import { createOutput, type Output } from './output/output.ts'
import { createRetention } from './output/retention.ts'
import { asked } from './queue/controls.ts'
import { taskRules } from './queue/task-rules.ts'
import { createTaskStore, type TaskStore } from './queue/task-store.ts'
import { createTasks, type Tasks } from './queue/tasks.ts'
import { prepareSharedDirectory } from './storage.ts'
import { createTerminals, type Terminals } from './terminal/terminals.ts'

/** Every service of the Host, made once. */
export interface HostContext {
  config: Config
  tokens: { admin: string; runner: string }
  engine: Engine
  tarballs: TarballStore
  operations: Operations
  containers: Containers
  versions: Versions
  verifications: Verifications
  packaging: Packaging
  deletions: Deletions
  diffs: Diffs
  exports: Exports
  forks: Forks
  imports: Imports
  rollbacks: Rollbacks
  prefetch: Prefetch
  terminals: Terminals
  nodes: Nodes
  layerSources: LayerSources
  tasks: Tasks
  output: Output
  explanations: Explanations
  health(): Promise<Health>
  /** In the order that loses nothing: shells, operations (undone), queue, state. */
  close(): Promise<void>
}

/**
 * Makes the Host's services from its configuration, and puts right what a crash left behind.
 *
 * @throws `storage.unavailable`, `config.invalid`, `internal.error` (state)
 */
export async function createContext(config: Config): Promise<HostContext> {
  const paths = sharedPaths(config.paths.shared_dir, config.docker.container_dir)
  const state = hostStatePaths(config.paths.state_dir)
  mkdirSync(state.root, { recursive: true, mode: 0o700 })
  const tokens = { admin: readOrCreateToken(state.adminToken), runner: readOrCreateToken(state.runnerToken) }
  const ownerId = readOrCreateToken(state.hostId, createId)
  prepareSharedDirectory(paths, { id: ownerId, stateFile: state.storageMark })

  const databaseFile = config.database.db_file || state.database
  const database = await openDatabase<Tables>(databaseFile, migrations)
  const writer = createGroupWriter(databaseFile)
  const engine = createDockerEngine({ socketPath: config.docker.socket })
  const tarballs = await openTarballStore(config, ownerId, { probe: true })
  const operations = createOperations(database)
  // What lies there belongs to operations of a Host that is gone.
  await rm(state.spool, { recursive: true, force: true })
  await recover(engine, tarballs, operations)

  const containers = createContainers({ engine, operations, allowedMounts: config.docker.allowed_mounts })
  const nodes = await createNodes({ database, heartbeatSeconds: config.timing.heartbeat_interval, timeoutFactor: config.timing.heartbeat_timeout_factor })
  const dispatcher = createRunnerDispatcher(nodes.find)
  const store = await createTaskStore({ database, writer })
  const marks = await createVersionMarks(database)
  const nodesWith = (environment: string, version: number) => nodes.list().filter(({ images }) => images.some((image) => image.environment === environment && image.version === version)).map(({ hostname }) => hostname)
  const versions = createVersions({ tarballs, marks, keepVersions: config.docker.keep_versions, unfinishedTasks: store.unfinishedOf, nodesWith })
  const verifications = createVerifications({ operations, tarballs, versions, marks })
  const tasks = createTasks({ store, nodes, versions, marks, verifications, dispatcher, rules: taskRules(config) })
  const states = createCapturedStates(state.captures)
  const output = createOutput({ tasks: store, paths, nodes, dispatcher, keepDays: config.logs.keep_days })
  const retention = createRetention({ paths, keepDays: config.logs.keep_days, endedBefore: (ids, time) => endedBefore(database, ids, time) })
  const notifications = await createNotifications({ database, changes: store.changes, active: () => [...store.live.values()], get: (id) => tasks.get(id), note: (id, message) => noteTrouble(store, id, message) })
  const trials = createTrials({ tasks, output, versions, marks })
  await trials.recover()
  verifications.recover()
  const packaging = createPackaging({ engine, containers, operations, tarballs, versions, marks, states, trials, spoolDirectory: state.spool })
  const terminals = createTerminals({ engine, containers })

  return {
    layerSources: createLayerSources(nodes),
    config, tokens, engine, tarballs, operations, containers, versions, verifications, packaging, terminals, nodes, tasks,
    output,
    explanations: createExplanations({ tasks, versions }),
    deletions: createDeletions({ operations, versions, tasks }),
    diffs: createDiffs({ tarballs, versions, marks }),
    exports: createExports({ tarballs, versions, marks }),
    forks: createForks({ engine, containers, operations, tarballs, versions, marks }),
    imports: createImports({ engine, operations, tarballs, versions, marks, spoolDirectory: state.spool }),
    prefetch: createPrefetch({ operations, versions, verifications, nodes, dispatcher }),
    rollbacks: createRollbacks({ operations, tarballs, versions, marks }),
    health: () => checkHealth(engine, paths),
    async close() {
      await terminals.closeAll()
      await operations.close()
      await verifications.close()
      nodes.close()
      tasks.close()
      await notifications.close()
      store.close()
      await retention.close()
      dispatcher.close()
      writer.close()
      await database.destroy()
    },
  }
}

let current: HostContext | undefined

/** Makes the context known to the routes. Called once, before the server listens. */
export function setContext(context: HostContext): void {
  current = context
}

/** The context, for routes. */
export function useContext(): HostContext {
  if (!current) throw new Error('the context is not set: the server answers before it has started')
  return current
}

// --- internal ---

async function noteTrouble(store: TaskStore, id: string, message: string): Promise<void> {
  await store.update(id, (task) => asked(task, 'note', 'host', message), 'host')
}

/** An Engine that is down does not keep the Host from starting: what is to be undone there waits for the next start. */
async function recover(engine: Engine, tarballs: TarballStore, operations: Operations): Promise<void> {
  const removed = await tarballs.sweep()
  if (removed.length > 0) console.error(`[hakuriver] [tarballs] removed what an interrupted packaging left behind: ${removed.join(', ')}`)
  await operations.recover((operation) => undoOperation(engine, operation))
  const yesterday = new Date(Date.now() - 24 * 60 * 60 * 1000).toISOString()
  removeLateImages(engine, await operations.interrupted('create_version', yesterday))
}
