import type { DeletionBody, DeletionObstacle, DeletionPlan, DeletionResult, Version } from '#core/api/schemas.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import { tarballFileName } from '#core/paths.ts'
import type { Operations } from '../operations/operations.ts'
import type { Tasks } from '../queue/tasks.ts'
import type { Versions } from './versions.ts'

/** Deleting versions by hand: first a plan, then exactly what was planned. Containers are left alone. */
export interface Deletions {
  /** All versions, or one. @throws `environment.no_version`, `tarball.not_found` */
  plan(environment: string, version?: number): Promise<DeletionPlan>
  /**
   * Deletes these versions, all or none: what stands in the way of one keeps all. With `force`, pins count for nothing, and tasks that
   * still wait in the queue fail and say why. What a node was given is never taken from it.
   *
   * @throws `environment.no_version`, `tarball.not_found`, `version.needed`, `environment.busy`
   */
  execute(environment: string, body: DeletionBody): Promise<DeletionResult>
}

export interface DeletionsOptions {
  operations: Pick<Operations, 'exclusively'>
  versions: Versions
  tasks: Pick<Tasks, 'failQueued'>
}

export function createDeletions({ operations, versions, tasks }: DeletionsOptions): Deletions {
  async function plan(environment: string, wanted?: readonly number[]): Promise<DeletionPlan> {
    const { latest, older } = await versions.get(environment)
    const all = [latest, ...older]
    for (const version of wanted ?? []) if (!all.some((each) => each.version === version)) await versions.describe(environment, version)
    const chosen = wanted ? all.filter(({ version }) => wanted.includes(version)) : all
    return { environment, versions: chosen, obstacles: chosen.flatMap((version) => obstaclesOf(versions, version)), bytes: chosen.reduce((sum, { size }) => sum + size, 0) }
  }

  return {
    plan: (environment, version) => plan(environment, version === undefined ? undefined : [version]),
    execute: (environment, { versions: numbers, force }) =>
      operations.exclusively(environment, async () => {
        const { versions: chosen, obstacles, bytes } = await plan(environment, numbers)
        const left = obstacles.filter(({ forcible }) => !force || !forcible)
        if (left.length > 0) throw refused(environment, left)
        const failedTasks: string[] = []
        for (const { task, version } of obstacles) {
          if (task === null) continue
          await tasks.failQueued(task, `Its version ${tarballFileName(environment, version)} was deleted by force while it waited. Submit it again, to run in another version.`)
          failedTasks.push(task)
        }
        const deleted: number[] = []
        for (const { version } of chosen) {
          await versions.remove(environment, version).catch((error: unknown) => {
            if (!isHakuError(error) || deleted.length === 0) throw error
            throw new HakuError(error.code, `${error.message} Of what was to be deleted, ${deleted.join(', ')} of ${environment} is gone already.`, { cause: error })
          })
          deleted.push(version)
        }
        return { environment, deleted, failedTasks, bytes }
      }),
  }
}

// --- internal ---

function obstaclesOf(versions: Versions, { environment, version, pinned }: Version): DeletionObstacle[] {
  const pin: DeletionObstacle[] = pinned ? [{ version, kind: 'pinned', task: null, forcible: true }] : []
  const needed = versions.tasksOf(environment, version).map(({ id, state }): DeletionObstacle => ({ version, kind: state === 'queued' ? 'queued' : 'task', task: id, forcible: state === 'queued' }))
  return [...pin, ...needed]
}

function refused(environment: string, obstacles: readonly DeletionObstacle[]): HakuError {
  const words = obstacles.slice(0, 5).map((obstacle) => `${tarballFileName(environment, obstacle.version)} ${reason(obstacle)}`)
  const more = obstacles.length > words.length ? ` and ${obstacles.length - words.length} more` : ''
  const cure = obstacles.every(({ forcible }) => forcible) ? 'Give --force if that is meant; queued tasks then fail.' : 'Wait for the tasks, or end them with "hakuriver task kill ID".'
  return new HakuError('version.needed', `Nothing was deleted: ${words.join('; ')}${more}. ${cure}`)
}

function reason({ kind, task }: DeletionObstacle): string {
  switch (kind) {
    case 'pinned':
      return 'is pinned'
    case 'queued':
      return `is needed by the queued task ${task}`
    case 'task':
      return `is needed by the task ${task}, which a node was given`
    default:
      return kind satisfies never
  }
}
