import type { SubmitBody, SubmitPreview, VersionDetails } from '#core/api/schemas.ts'
import { missingLayers } from '#core/tarballs/chains.ts'
import type { Versions } from '../environments/versions.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import { planPlacements, type WaitingTask } from '../scheduler/plan.ts'
import { capacityOf, waitingTasks } from './capacity.ts'
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
  const { version } = await versions.resolve(body.environment, body.version)
  const details = await versions.details(body.environment, version)
  const waiting = waitingTasks(store.active())
  // Behind all that wait, as a submission would be.
  const wanted = targets.map((target, index): WaitingTask => ({ id: `preview-${index}`, target, cores: body.cores, memoryBytes: body.memoryBytes }))
  const plan = planPlacements([...waiting, ...wanted], nodes.list().map((node) => capacityOf(node, store.active())))
  return {
    environment: body.environment,
    version,
    fileName: details.fileName,
    tasks: wanted.map(({ id, target }) => {
      const placed = plan.placements.find(({ taskId }) => taskId === id)?.node
      const node = nodes.find(placed ?? target ?? '')
      const place = placed === undefined ? plan.waiting.findIndex(({ taskId }) => taskId === id) + 1 : 0
      const message = plan.waiting.find(({ taskId }) => taskId === id)?.reason ?? null
      return { target, node: node?.hostname ?? null, place, message, syncBytes: node ? bytesToSync(details, node) : null }
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
