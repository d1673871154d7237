import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { Engine } from '#core/engine/engine.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { Tables } from '#server/database/tables.ts'
import { createCapturedStates } from '#server/environments/capture/states.ts'
import { createContainers } from '#server/environments/containers.ts'
import { createVersionMarks } from '#server/environments/marks.ts'
import { createPackaging } from '#server/environments/packaging.ts'
import type { Trials } from '#server/environments/trial.ts'
import { createVersions } from '#server/environments/versions.ts'
import { createOperations } from '#server/operations/operations.ts'

export interface EnvironmentServicesOptions {
  engine: Engine
  database: Kysely<Tables>
  tarballs: TarballStore
  /** Of the Host. */
  stateDirectory: string
  keepVersions?: number
  /** Without a queue nothing can be tried. */
  trials?: Trials
  inUse?: () => ReadonlySet<number>
}

const NOTHING = () => Promise.resolve()
const NO_TRIALS: Trials = { announce: NOTHING, run: NOTHING, withdraw: NOTHING, recover: NOTHING }

/** The Host's services for environments, as its context puts them together. */
export async function createEnvironmentServices({ engine, database, tarballs, stateDirectory, keepVersions = 1, trials = NO_TRIALS, inUse = () => new Set() }: EnvironmentServicesOptions) {
  const operations = createOperations(database)
  const containers = createContainers({ engine, operations, allowedMounts: [] })
  const marks = await createVersionMarks(database)
  const unfinishedTasks = () => [...inUse()].map((version) => ({ id: 'task', version, state: 'running' as const }))
  const versions = createVersions({ tarballs, marks, keepVersions, unfinishedTasks, nodesWith: () => [] })
  const states = createCapturedStates(join(stateDirectory, 'captures'))
  const packaging = createPackaging({ engine, containers, operations, tarballs, versions, marks, states, trials, spoolDirectory: join(stateDirectory, 'spool') })
  return { operations, containers, marks, versions, states, packaging }
}
export type EnvironmentServices = Awaited<ReturnType<typeof createEnvironmentServices>>

/** A manifest that says nothing true but what is given. */
export function manifestWith(given: Pick<VersionManifest, 'environment' | 'version' | 'size'> & Partial<VersionManifest>): VersionManifest {
  return {
    formatVersion: 2, baseImage: 'busybox', created: new Date(0).toISOString(), author: 'me', note: '', configDigest: `sha256:${'1'.repeat(64)}`, manifestDigest: `sha256:${'2'.repeat(64)}`,
    newBytes: 0, architecture: 'amd64', os: 'linux', config: '{}', layers: [], baseLayers: 0, ...given,
  }
}
