import type { Explanation, TaskDetails, WaitingReason } from '#core/api/schemas.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import type { Versions } from '../environments/versions.ts'
import type { Tasks } from '../queue/tasks.ts'
import { planPlacements } from '../scheduler/plan.ts'
import type { Plan, PlanInput, WaitingTask } from '../scheduler/types.ts'
import { describeStanding } from './standing.ts'

/** Why a task waits, or what has become of it. */
export interface Explanations {
  /** @throws `task.not_found` */
  explain(id: string): Promise<Explanation>
}

export interface ExplanationsOptions {
  tasks: Pick<Tasks, 'get' | 'planInput' | 'plan'>
  versions: Pick<Versions, 'resolve'>
}

export function createExplanations({ tasks, versions }: ExplanationsOptions): Explanations {
  return {
    async explain(id) {
      const task = await tasks.get(id)
      const missing = await missingVersion(task, versions)
      // Both of one moment: the storage may have taken its time.
      const input = tasks.planInput()
      const entry = entryOf(task, input)
      const place = entry ? input.waiting.indexOf(entry) + 1 : null
      const { state } = task
      if (!entry) return { id, state, summary: describeStanding(task), place, waiting: input.waiting.length, reasons: [], nodes: [] }

      const plan = planKnowing(entry.id, tasks.plan(), input)
      const reasons = withMissing(entry.blocked, missing)
      return { id, state, summary: summarise(entry, plan, reasons), place, waiting: input.waiting.length, reasons, nodes: plan.nodesFor(entry.id) }
    },
  }
}

// --- internal ---

/** What of the queue it is: itself, or the batch that its item waits with. */
function entryOf({ id, batch, state, items }: TaskDetails, { waiting }: PlanInput): WaitingTask | undefined {
  if (state !== 'queued' && items === null) return undefined
  return waiting.find((entry) => entry.id === id) ?? waiting.find((entry) => entry.id === batch)
}

/** The last plan, or if the task came after it, what the next one will be. */
function planKnowing(id: string, last: Plan | undefined, input: PlanInput): Plan {
  return last && last.nodesFor(id).length > 0 ? last : planPlacements(input)
}

/** Somebody may have removed it by hand: then it is not known before a node looks for it. */
async function missingVersion({ state, items, environment, version }: TaskDetails, versions: Pick<Versions, 'resolve'>): Promise<WaitingReason | null> {
  if (environment === null || version === null || (state !== 'queued' && items === null)) return null
  try {
    await versions.resolve(environment, version)
    return null
  } catch (error) {
    // Nobody would start it from a damaged version: that is told by the queue itself.
    if (isHakuError(error, 'tarball.damaged')) return null
    const isMissing = isHakuError(error, 'tarball.not_found', 'environment.no_version')
    return { code: 'environment_missing', message: isMissing ? errorMessage(error) : `Whether its version is in the storage can not be seen now: ${errorMessage(error)}` }
  }
}

function withMissing(blocked: readonly WaitingReason[], missing: WaitingReason | null): WaitingReason[] {
  return missing === null || blocked.some(({ code }) => code === missing.code) ? [...blocked] : [...blocked, missing]
}

function summarise({ id }: WaitingTask, plan: Plan, [first, ...others]: readonly WaitingReason[]): string {
  if (first) return others.length === 0 ? first.message : `${first.message} That is not all that it waits for.`
  const reason = plan.reasonFor(id)
  if (reason === null) return 'It is its turn: a node is being given to it.'
  const kept = plan.kept.find(({ taskId }) => taskId === id)
  if (!kept) return reason.message
  return `${reason.message} ${kept.node} is kept for it${kept.startsBy === null ? '' : `, and has room at ${new Date(kept.startsBy).toISOString()} or earlier`}.`
}
