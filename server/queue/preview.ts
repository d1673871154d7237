import type { SubmitBody, SubmitPreview, VersionDetails, WaitingReason } from '#core/api/schemas.ts'
import type { Versions } from '../environments/versions.ts'
import type { Nodes } from '../nodes/nodes.ts'
import { planPlacements } from '../scheduler/plan.ts'
import type { PlanInput, WaitingTask } from '../scheduler/types.ts'
import { blockedBy, type BlockedOptions, limitReason } from './blocked.ts'
import { requestOf } from './check-submission.ts'
import type { Dependencies } from './dependencies.ts'
import { bytesToSync, versionKey } from './load-bytes.ts'
import type { TaskRecord } from './task-record.ts'

export interface PreviewServices extends Pick<BlockedOptions, 'marks' | 'troubleOf'> {
  nodes: Pick<Nodes, 'find'>
  versions: Pick<Versions, 'resolve' | 'details'>
  dependencies: Pick<Dependencies, 'reasonFor'>
  input(): PlanInput
  /** What waits, in its order. */
  waiting(): readonly TaskRecord[]
}

/** What a submission that was checked would come to, by the same rules, with nothing stored. @throws as `Tasks.submit` */
export async function previewSubmission({ nodes, versions, dependencies, input, waiting, ...rules }: PreviewServices, body: SubmitBody): Promise<SubmitPreview> {
  const details = body.environment === null ? null : await detailsOf(versions, body.environment, body.version)
  const dependency = await dependencies.reasonFor(body.after)
  const now = input()
  const reasons = reasonsOf(body, details?.version ?? null, now.now, { ...rules, dependencyOf: () => dependency })
  // Behind all that wait and are as urgent.
  const others = waiting()
  const ahead = others.filter(({ priority }) => priority >= body.priority).length
  const targets = body.targets.length > 0 ? body.targets : [null]
  const wanted = targets.map((target, index): WaitingTask => {
    const blocked = reasons.length === 0 && body.parallel !== null && index >= body.parallel ? [limitReason(body.parallel)] : reasons
    return { ...requestOf(body, target), id: `preview-${index}`, count: blocked.length === 0 ? 1 : 0, version: details && versionKey(details), timeLimitSeconds: body.timeLimitSeconds, blocked }
  })
  const plan = planPlacements({ ...now, mostPlacements: Infinity, waiting: now.waiting.toSpliced(ahead, 0, ...wanted) })
  return {
    environment: body.environment,
    version: details?.version ?? null,
    fileName: details?.fileName ?? null,
    tasks: wanted.map(({ id, target }, index) => {
      const placed = plan.placements.find(({ taskId }) => taskId === id)?.node
      const node = nodes.find(placed ?? target?.node ?? '')
      return {
        target: targets[index] ?? null,
        node: node?.hostname ?? null,
        place: placed === undefined ? ahead + index + 1 : 0,
        message: placed === undefined ? (plan.reasonFor(id)?.message ?? null) : null,
        syncBytes: details === null ? 0 : node ? bytesToSync(details, node) : null,
      }
    }),
  }
}

// --- internal ---

/** It has no id yet. */
function reasonsOf({ hold, at, after, environment }: SubmitBody, version: number | null, now: number, options: BlockedOptions): readonly WaitingReason[] {
  return blockedBy({ id: 'ID', batch: null, wish: hold ? 'hold' : 'run', notBefore: at === null ? null : Date.parse(at), instance: 0, after, environment, version }, now, options)
}

async function detailsOf(versions: PreviewServices['versions'], environment: string, wanted: number | undefined): Promise<VersionDetails> {
  const { version } = await versions.resolve(environment, wanted)
  return versions.details(environment, version)
}
