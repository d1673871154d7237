import { z } from 'zod'
import { MAX_VERSION } from '../../names.ts'
import { bytes, environmentName, time } from './common.ts'

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
export const versionInBody = z.int().nonnegative().max(MAX_VERSION)

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
