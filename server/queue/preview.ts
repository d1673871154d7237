import type { SubmitBody, SubmitPreview, VersionDetails } from '#core/api/schemas.ts'
import { missingLayers } from '#core/tarballs/chains.ts'
import type { Versions } from '../environments/versions.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import { planPlacements } from '../scheduler/plan.ts'
import { nodeState, toWaiting, waitingTasks } from './capacity.ts'
import { checkSubmission } from './check-submission.ts'
import type { TaskStore } from './task-store.ts'

export interface PreviewServices {
  store: Pick<TaskStore, 'active'>
  nodes: Nodes
  versions: Pick<Versions, 'resolve' | 'details'>
  allowedMounts: readonly string[]
}

/** What a submission would come to, by the same rules, with nothing stored. @throws as `Tasks.submit` */
export async function previewSubmission({ store, nodes, versions, allowedMounts }: PreviewServices, body: SubmitBody): Promise<SubmitPreview> {
  const targets = await checkSubmission(body, nodes, allowedMounts)
  if (body.environment === null) throw new Error('not yet')
  const { version } = await versions.resolve(body.environment, body.version)
  const details = await versions.details(body.environment, version)
  const waiting = waitingTasks(store.active()).map(toWaiting)
  // Behind all that wait, as a submission would be.
  const wanted = targets.map((target, index) => ({ ...toWaiting({ ...body, target, id: `preview-${index}` }), target: target === null ? null : { node: target } }))
  const plan = planPlacements({ waiting: [...waiting, ...wanted], nodes: nodes.list().map((node) => nodeState(node, store.active())), loadBytes: new Map(), now: Date.now() })
  return {
    environment: body.environment,
    version,
    fileName: details.fileName,
    tasks: wanted.map(({ id, target }) => {
      const placed = plan.placements.find(({ taskId }) => taskId === id)?.node
      const node = nodes.find(placed ?? target?.node ?? '')
      const place = placed === undefined ? waiting.length : 0
      const message = placed === undefined ? (plan.reasonFor(id)?.message ?? null) : null
      return { target: target?.node ?? null, node: node?.hostname ?? null, place, message, syncBytes: node ? bytesToSync(details, node) : null }
    }),
  }
}

/** What a node would have to read of a version. */
export function bytesToSync(version: Pick<VersionDetails, 'environment' | 'version' | 'size' | 'layers'>, node: Pick<NodeRecord, 'images' | 'layers'>): number {
  if (node.images.some((image) => image.environment === version.environment && image.version === version.version)) return 0
  // A tarball made by other tools is read whole.
  if (version.layers.length === 0) return version.size
  return missingLayers(version.layers, node.layers).reduce((sum, { size }) => sum + size, 0)
}
