import { z } from 'zod'
import { isEnvironmentName, ENVIRONMENT_NAME_RULE, isNodeName, MAX_VERSION, quote } from '../names.ts'
import { taskReasons, taskStates, taskWishes } from '../tasks/states.ts'

/** Shapes on the wire. Times are ISO 8601 UTC, sizes are bytes, ids are strings that sort by time. */

export const environmentName = z.string().superRefine((name, context) => {
  if (!isEnvironmentName(name)) context.addIssue({ code: 'custom', message: `${quote(name)} is not a valid environment name. Use ${ENVIRONMENT_NAME_RULE}.`, params: { code: 'environment.name_invalid' } })
})
export const nodeName = z.string().superRefine((name, context) => {
  if (!isNodeName(name)) context.addIssue({ code: 'custom', message: `${quote(name)} is not a valid node name.`, params: { code: 'node.name_invalid' } })
})
const time = z.iso.datetime()
const bytes = z.int().nonnegative()

export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  issues: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
})
export type Problem = z.infer<typeof problem>

/** Lists: newest first; `cursor` is the id after which to go on. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.string().max(100).optional(),
})

export const waitQuery = z.strictObject({
  /** Hold the answer until the object has ended, for at most this many seconds. */
  wait: z.coerce.number().min(0).max(60).default(0),
})

export function page<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() })
}

// --- health ---

export const health = z.object({ status: z.enum(['ok', 'degraded', 'stopping']), version: z.string(), problems: z.array(problem) })
export type Health = z.infer<typeof health>

// --- containers ---

export const containerStatus = z.enum(['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'])
export const container = z.object({
  id: z.string(),
  name: z.string(),
  image: z.string(),
  status: containerStatus,
  created: time,
})
export type Container = z.infer<typeof container>

export const createContainerBody = z.strictObject({
  name: environmentName,
  image: z.string().min(1).max(512),
  /** Pull even when the Engine has the image. */
  pull: z.boolean().default(false),
  /** An equal container (same image, same options) that exists is a success. */
  ifNotExists: z.boolean().default(false),
  env: z.record(z.string(), z.string()).default({}),
  /** `SRC:DST[:ro]`, below the roots of `docker.allowed_mounts`. */
  mounts: z.array(z.string()).max(64).default([]),
})
export type CreateContainerBody = z.infer<typeof createContainerBody>

// --- environments and versions ---

export const version = z.object({
  environment: z.string(),
  version: z.int(),
  fileName: z.string(),
  created: time,
  size: bytes,
  author: z.string().nullable(),
  note: z.string().nullable(),
  baseImage: z.string().nullable(),
  /** Image id on Engines with a graph driver; `null` for a tarball made by other tools. */
  configDigest: z.string().nullable(),
  /** Bytes that no version before had; `null` for a tarball made by other tools. */
  newBytes: bytes.nullable(),
  /** The version that a rollback made current again with this one. */
  restores: z.int().nullable(),
  /** The one that is meant where none is named. */
  current: z.boolean(),
  /** Neither pruned nor deleted. */
  pinned: z.boolean(),
  /** Still being tested: never current. */
  candidate: z.boolean(),
  /** What is wrong with it; it can not be used then. */
  damage: z.string().nullable(),
  /** Nodes that have it. */
  nodes: z.array(z.string()),
  /** Ids of the unfinished tasks that need it. */
  tasks: z.array(z.string()),
})
export type Version = z.infer<typeof version>

/** A version with what its manifest tells. */
export const versionDetails = version.extend({
  architecture: z.string().nullable(),
  os: z.string().nullable(),
  /** Lowest first. */
  layers: z.array(z.object({ digest: z.string(), size: bytes, isBase: z.boolean() })),
})
export type VersionDetails = z.infer<typeof versionDetails>

export const environment = z.object({
  name: z.string(),
  /** The newest by number. Not the current one while it is being tested, or if it is damaged. */
  latest: version,
  older: z.array(version),
})
export type Environment = z.infer<typeof environment>

/** In paths and queries. */
export const versionNumber = z.coerce.number().int().nonnegative().max(MAX_VERSION)
const versionInBody = z.int().nonnegative().max(MAX_VERSION)

export const fileChange = z.object({
  /** Without `/` in front. Bytes that are no UTF-8 are written as `\xHH`. */
  path: z.string(),
  change: z.enum(['added', 'changed', 'deleted']),
  type: z.enum(['file', 'symlink', 'character', 'block', 'directory', 'fifo']),
  /** Size before; `null` if it was not there. */
  before: bytes.nullable(),
  /** Size after; `null` if it is not there any more. */
  after: bytes.nullable(),
})
export type FileChange = z.infer<typeof fileChange>

export const packageChange = z.object({
  manager: z.enum(['apt', 'apk', 'pip', 'conda']),
  name: z.string(),
  before: z.string().nullable(),
  after: z.string().nullable(),
})
export type PackageChange = z.infer<typeof packageChange>

export const diffQuery = z.strictObject({
  /** The version before `to` unless said. */
  from: versionNumber.optional(),
  /** The current version unless said. */
  to: versionNumber.optional(),
  /** So many files are listed at most; the totals count all. */
  limit: z.coerce.number().int().min(0).max(100_000).default(1000),
})
export type DiffQuery = z.infer<typeof diffQuery>

const diffTotal = z.object({ files: z.int(), bytes })
export const versionDiff = z.object({
  environment: z.string(),
  from: z.int(),
  to: z.int(),
  /** By path. */
  files: z.array(fileChange),
  /** Not all files are listed. */
  truncated: z.boolean(),
  /** Bytes of what was added, of changed files as they are now, of what was deleted. */
  totals: z.object({ added: diffTotal, changed: diffTotal, deleted: diffTotal }),
  packages: z.array(packageChange),
})
export type VersionDiff = z.infer<typeof versionDiff>

export const rollbackBody = z.strictObject({
  version: versionInBody,
  note: z.string().max(4096).default(''),
  author: z.string().max(128).default(''),
})
export type RollbackBody = z.infer<typeof rollbackBody>

/** Why a version may not be deleted. */
export const deletionObstacle = z.object({
  version: z.int(),
  /** `queued`: a task that waits, and would fail. `task`: one that a node was given. */
  kind: z.enum(['pinned', 'queued', 'task']),
  task: z.string().nullable(),
  /** `force` overrides it. */
  forcible: z.boolean(),
})
export type DeletionObstacle = z.infer<typeof deletionObstacle>

export const deletionPlan = z.object({
  environment: z.string(),
  /** What would be deleted. */
  versions: z.array(version),
  obstacles: z.array(deletionObstacle),
  /** Of all tarballs. */
  bytes,
})
export type DeletionPlan = z.infer<typeof deletionPlan>

export const deletionBody = z.strictObject({
  versions: z.array(versionInBody).min(1).max(10_000),
  /** Delete what is pinned too, and what only queued tasks need: they fail. */
  force: z.boolean().default(false),
})
export type DeletionBody = z.infer<typeof deletionBody>

export const deletionResult = z.object({
  environment: z.string(),
  deleted: z.array(z.int()),
  /** Queued tasks that failed with it. */
  failedTasks: z.array(z.string()),
  bytes,
})
export type DeletionResult = z.infer<typeof deletionResult>

export const forkBody = z.strictObject({
  /** Name of the new environment. */
  name: environmentName,
  /** The current one unless said. */
  version: versionInBody.optional(),
})
export type ForkBody = z.infer<typeof forkBody>

export const importQuery = z.strictObject({
  note: z.string().max(4096).default(''),
  author: z.string().max(128).default(''),
})
export type ImportQuery = z.infer<typeof importQuery>

export const importedVersion = version.extend({
  /** What to know before using it. */
  warnings: z.array(z.string()),
})
export type ImportedVersion = z.infer<typeof importedVersion>

export const createVersionBody = z.strictObject({
  note: z.string().max(4096).default(''),
  /** Who packages; for people only. */
  author: z.string().max(128).default(''),
  /** How many versions stay; `docker.keep_versions` unless said. */
  keep: z.int().min(1).max(10_000).optional(),
  /** For a shell on a node: the version is only published for good if it ends with 0 there. */
  test: z.string().min(1).max(65_536).refine((text) => !text.includes('\0'), 'contains a NUL character').optional(),
})
export type CreateVersionBody = z.infer<typeof createVersionBody>

export const prefetchBody = z.strictObject({
  /** Hostnames; empty: every node that is online. */
  nodes: z.array(z.string()).max(1000).default([]),
  /** The current one unless said. */
  version: versionInBody.optional(),
})
export type PrefetchBody = z.infer<typeof prefetchBody>

// --- operations ---

export const operationKind = z.enum(['create_container', 'create_version', 'rollback', 'fork', 'prefetch_version', 'verify_version'])
export const operationState = z.enum(['running', 'succeeded', 'failed', 'cancelled'])
export const operationProgress = z.object({
  /** What is being done now: `pull`, `stop`, `commit`, `save`, … */
  phase: z.string(),
  /** Bytes done and, where known, in all. */
  bytes: bytes.nullable(),
  totalBytes: bytes.nullable(),
  message: z.string(),
})
export type OperationProgress = z.infer<typeof operationProgress>

export const operation = z.object({
  id: z.string(),
  kind: operationKind,
  environment: z.string(),
  state: operationState,
  progress: operationProgress,
  created: time,
  finished: time.nullable(),
  /** Of a finished operation: the container or the version that it made. */
  result: z.union([container, version]).nullable(),
  error: problem.nullable(),
})
export type Operation = z.infer<typeof operation>

// --- nodes ---

export const nodeHardware = z.object({
  cores: z.int().positive(),
  memoryBytes: bytes,
})
export const nodeUsage = z.object({
  cpuPercent: z.number().nullable(),
  memoryUsedBytes: bytes.nullable(),
})
export const engineInfo = z.object({
  version: z.string(),
  storageDriver: z.string(),
  architecture: z.string(),
})

/** A version that a node's Engine holds. */
export const nodeImage = z.strictObject({ environment: z.string().max(64), version: z.int() })
export type NodeImage = z.infer<typeof nodeImage>

/** What a node has already, so that a load reads only the rest. */
export const nodeHoldings = z.strictObject({
  images: z.array(nodeImage),
  /** Chain ids of the layers that a load would not read: see `core/tarballs/chains`. */
  layers: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/)).max(20_000),
})
export type NodeHoldings = z.infer<typeof nodeHoldings>

export const node = z.object({
  hostname: z.string(),
  url: z.string(),
  state: z.enum(['online', 'offline']),
  lastHeartbeat: time,
  cores: z.int(),
  coresReserved: z.int(),
  memoryBytes: bytes,
  memoryReservedBytes: bytes,
  usage: nodeUsage,
  engine: engineInfo.nullable(),
  runnerVersion: z.string(),
  /** Environment versions that it needs not load any more. */
  images: z.array(nodeImage),
})
export type Node = z.infer<typeof node>

export const registerBody = z.strictObject({
  hostname: nodeName,
  url: z.url({ protocol: /^https?$/ }),
  /** Grows with each start of the Runner, so that a zombie can be told from its successor. */
  instanceId: z.string().min(1).max(64),
  /** What the Host shows when it calls this Runner. */
  hostToken: z.string().min(32).max(256),
  hardware: nodeHardware,
  engine: engineInfo.nullable(),
  runnerVersion: z.string().max(64),
  /** Left out while the Engine does not answer. */
  holdings: nodeHoldings.optional(),
})
export type RegisterBody = z.infer<typeof registerBody>
export const registerResponse = z.object({
  heartbeatSeconds: z.number().positive(),
})

export const heartbeatBody = z.strictObject({
  instanceId: z.string().min(1).max(64),
  usage: nodeUsage,
  engine: engineInfo.nullable(),
  /** Ids of every unfinished or unacknowledged task the Runner knows. */
  tasks: z.array(z.string()),
  /** Left out: as told before. */
  holdings: nodeHoldings.optional(),
})
export type HeartbeatBody = z.infer<typeof heartbeatBody>
/** `wantsHoldings`: the Host has forgotten them, and they come with the next beat. */
export const heartbeatResponse = z.object({ wantsHoldings: z.boolean() })

// --- versions on nodes ---

/** A version by everything that a node needs to load exactly it. */
export const versionOrder = z.strictObject({
  environment: z.string(),
  version: z.int(),
  fileName: z.string(),
  /** Image ids by which the version is known; `null` for a tarball made by other tools. */
  configDigest: z.string().nullable(),
  manifestDigest: z.string().nullable(),
})
export type VersionOrder = z.infer<typeof versionOrder>

/** How far the load of a version is. */
export const syncProgress = z.strictObject({
  bytes,
  /** Only what the node lacks. */
  totalBytes: bytes,
  /** `null` at the beginning. */
  bytesPerSecond: bytes.nullable(),
})
export type SyncProgress = z.infer<typeof syncProgress>

export const prefetchState = z.strictObject({ state: z.enum(['loading', 'ready']), sync: syncProgress.nullable(), message: z.string().nullable() })
export type PrefetchState = z.infer<typeof prefetchState>

// --- layers that nodes give to one another ---

export const layerDigest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'not a digest')

/** The whole picture each time, so that it may be lost or doubled. */
export const layersBody = z.strictObject({
  instanceId: z.string().min(1).max(64),
  /** Layers that this node gives to others. */
  held: z.array(layerDigest).max(20_000),
  /** Layers that it is getting. */
  wanted: z.array(layerDigest).max(1000),
})
export type LayersBody = z.infer<typeof layersBody>

export const layerSourceBody = z.strictObject({
  instanceId: z.string().min(1).max(64),
  /** Nodes that were tried in vain. */
  avoid: z.array(z.string()).max(1000).default([]),
})

/** From where a node should get a layer. `wait`: another node is getting it right now; ask again. */
export const layerSource = z.discriminatedUnion('from', [
  z.object({ from: z.literal('storage') }),
  z.object({ from: z.literal('wait') }),
  z.object({ from: z.literal('node'), hostname: z.string(), url: z.string(), ticket: z.string() }),
])
export type LayerSource = z.infer<typeof layerSource>

// --- tasks ---

export const taskId = z.string().regex(/^[0-9a-z]{26}$/, 'not a task id')
const argument = z.string().max(131_072).refine((text) => !text.includes('\0'), 'contains a NUL character')
const environmentVariables = z.record(z.string().regex(/^[^=\0\n]+$/, 'is not a name of an environment variable').max(1024), argument)

export const submitBody = z.strictObject({
  /** argv. No shell touches it. */
  command: z.array(argument).min(1).max(10_000).refine((argv) => argv[0] !== '', 'begins with an empty word'),
  environment: environmentName,
  /** The current one unless said. */
  version: versionInBody.optional(),
  /** `HOST[:NUMA][::GPU,…]`, one task each; empty: the Host picks a node. */
  targets: z.array(z.string()).max(1000).default([]),
  /** CPUs to reserve, and the limit; 0 reserves nothing and sets no limit. */
  cores: z.int().min(0).max(4096).default(1),
  /** Limit and reservation; `null`: no limit, nothing reserved. */
  memoryBytes: z.int().min(6 * 1024 * 1024, 'is less than 6 MiB, the least the Engine takes').nullable().default(null),
  env: environmentVariables.default({}),
  /** `SRC:DST[:ro]`, below the roots of `docker.allowed_mounts`. */
  mounts: z.array(z.string()).max(64).default([]),
})
export type SubmitBody = z.infer<typeof submitBody>

export const task = z.object({
  id: z.string(),
  state: z.enum(taskStates),
  wish: z.enum(taskWishes),
  reason: z.enum(taskReasons).nullable(),
  /** One sentence for people about `reason`. */
  message: z.string().nullable(),
  exitCode: z.int().nullable(),
  node: z.string().nullable(),
  target: z.string().nullable(),
  environment: z.string(),
  version: z.int(),
  command: z.array(z.string()),
  env: z.record(z.string(), z.string()),
  mounts: z.array(z.string()),
  cores: z.int(),
  memoryBytes: bytes.nullable(),
  /** How far its version is, while the task is `syncing`. */
  sync: syncProgress.nullable(),
  submitted: time,
  started: time.nullable(),
  finished: time.nullable(),
})
export type Task = z.infer<typeof task>

/** What a submission would come to, now. */
export const submitPreview = z.object({
  environment: z.string(),
  version: z.int(),
  fileName: z.string(),
  tasks: z.array(z.object({
    target: z.string().nullable(),
    /** Where it would run: at once, or when it is its turn; `null`: shown by then. */
    node: z.string().nullable(),
    /** Its place in the queue; 0: it starts at once. */
    place: z.int().nonnegative(),
    /** What it would wait for. */
    message: z.string().nullable(),
    /** What the node would have to read of the version; `null` while the node is not known. */
    syncBytes: bytes.nullable(),
  })),
})
export type SubmitPreview = z.infer<typeof submitPreview>

export const submitResponse = z.object({ tasks: z.array(task) })

export const outputQuery = z.strictObject({
  /** First byte to send. */
  offset: z.coerce.number().int().min(0).default(0),
  /** Go on until the task has ended and everything was sent. */
  follow: z.stringbool().default(false),
})

// --- Host ↔ Runner ---

/** What the Host tells a Runner to run. Everything is decided: the Runner chooses nothing. */
export const taskOrder = versionOrder.extend({
  id: taskId,
  command: z.array(z.string()).min(1),
  env: z.record(z.string(), z.string()),
  mounts: z.array(z.string()),
  cores: z.int().nonnegative(),
  memoryBytes: bytes.nullable(),
  network: z.string(),
  privileged: z.boolean(),
})
export type TaskOrder = z.infer<typeof taskOrder>

/** What a Runner saw of a task: the whole picture each time, so that reports may be lost, doubled or late. */
export const taskReport = z.strictObject({
  id: taskId,
  /** Grows with every report about this task. The Host ignores what it has already overtaken. */
  sequence: z.int().positive(),
  state: z.enum(taskStates),
  reason: z.enum(taskReasons).nullable(),
  message: z.string().nullable(),
  exitCode: z.int().nullable(),
  started: time.nullable(),
  finished: time.nullable(),
  /** Final sizes of the output files, so that the Host knows when it has read all of them. */
  stdoutBytes: bytes.nullable(),
  stderrBytes: bytes.nullable(),
  sync: syncProgress.nullable().default(null),
  /** What is wrong with the version's tarball: nobody else should try it. */
  damage: z.string().max(4096).nullable().default(null),
})
export type TaskReport = z.infer<typeof taskReport>

export const reportsBody = z.strictObject({ instanceId: z.string(), reports: z.array(taskReport).min(1).max(1000) })
export const reportsResponse = z.object({
  /** Ids whose last report the Host has stored; of a finished one the Runner may now remove the container. */
  acknowledged: z.array(z.string()),
  /** Ids that the Host never gave to this node: the Runner ends and forgets them. */
  unknown: z.array(z.string()),
})
