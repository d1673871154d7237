import type { Kysely } from 'kysely'
import type { Tables } from '../database/tables.ts'

/** What is known of a version beside what stands on the shared storage. */
export interface VersionMark {
  /** Neither pruned nor deleted. */
  isPinned: boolean
  /** Still being tested: nobody is given it as the newest. */
  isCandidate: boolean
  /** What was found wrong with it; nobody is given it, and nothing is built on it. */
  damage: string | null
  /** The node that found it, as long as the Host has not looked itself. */
  suspectedBy: string | null
}

export interface VersionMarks {
  get(environment: string, version: number): VersionMark
  set(environment: string, version: number, change: Partial<VersionMark>): Promise<void>
  /** Grows with each change of any mark. */
  revision(): number
  /** Versions that are being tested. */
  candidates(): { environment: string; version: number }[]
  /** Versions that a node says are damaged, and the Host has not looked at. */
  suspects(): { environment: string; version: number }[]
  /** The version is gone. */
  forget(environment: string, version: number): Promise<void>
}

const NO_MARK: VersionMark = { isPinned: false, isCandidate: false, damage: null, suspectedBy: null }

export async function createVersionMarks(database: Kysely<Tables>): Promise<VersionMarks> {
  const rows = await database.selectFrom('version_marks').selectAll().execute()
  const marks = new Map(rows.map(({ environment, version, pinned, candidate, damage, suspected_by: suspectedBy }) => [keyOf(environment, version), { environment, version, isPinned: pinned === 1, isCandidate: candidate === 1, damage, suspectedBy }]))
  let revision = 0

  return {
    revision: () => revision,
    get: (environment, version) => marks.get(keyOf(environment, version)) ?? NO_MARK,
    async set(environment, version, change) {
      const mark = { ...(marks.get(keyOf(environment, version)) ?? NO_MARK), ...change, environment, version }
      const values = { environment, version, pinned: mark.isPinned ? 1 : 0, candidate: mark.isCandidate ? 1 : 0, damage: mark.damage, suspected_by: mark.suspectedBy }
      await database.insertInto('version_marks').values(values).onConflict((conflict) => conflict.columns(['environment', 'version']).doUpdateSet(values)).execute()
      marks.set(keyOf(environment, version), mark)
      revision += 1
    },
    candidates: () => [...marks.values()].filter(({ isCandidate }) => isCandidate).map(({ environment, version }) => ({ environment, version })),
    suspects: () => [...marks.values()].filter(({ suspectedBy }) => suspectedBy !== null).map(({ environment, version }) => ({ environment, version })),
    async forget(environment, version) {
      await database.deleteFrom('version_marks').where('environment', '=', environment).where('version', '=', version).execute()
      marks.delete(keyOf(environment, version))
      revision += 1
    },
  }
}

// --- internal ---

function keyOf(environment: string, version: number): string {
  return `${environment}-${version}`
}
