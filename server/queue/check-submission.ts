import type { SubmitBody } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { parseTarget } from '#core/tasks/targets.ts'
import { resolveUserMounts } from '../environments/mounts.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import { refusal } from '../scheduler/fit.ts'

/**
 * Checks all of a submission but its version. Resolves to the node of each task; `null`: any.
 *
 * @throws `target.invalid`, `node.not_found`, `node.too_small`, `task.command_invalid`, `task.mount_not_allowed`
 */
export async function checkSubmission(body: SubmitBody, nodes: Nodes, allowedMounts: readonly string[]): Promise<(string | null)[]> {
  const targets = body.targets.map((text) => readTarget(text, nodes))
  await resolveUserMounts(body.mounts, allowedMounts)
  assertFits(body, targets, nodes.list())
  return targets.length > 0 ? targets : [null]
}

// --- internal ---

function readTarget(text: string, nodes: Nodes): string {
  const target = parseTarget(text)
  if (target.numaNode !== undefined || target.gpus !== undefined) throw new HakuError('target.invalid', `${quote(text)} names a NUMA node or GPUs, which this version can not give to a task. Name only the node: ${target.node}.`)
  if (!nodes.find(target.node)) {
    const known = nodes.list().map(({ hostname }) => hostname)
    throw new HakuError('node.not_found', `There is no node ${quote(target.node)}. ${known.length > 0 ? `Known nodes: ${known.join(', ')}.` : 'No node has registered yet.'}`)
  }
  return target.node
}

/** Refuses what no node could ever run, and names the nearest. Without any node the task waits for the first. */
function assertFits(body: SubmitBody, targets: readonly string[], nodes: NodeRecord[]): void {
  const capacities = nodes
  for (const target of targets.length > 0 ? targets : [null]) {
    const words = refusal({ ...body, target: target === null ? null : { node: target }, plain: body.environment === null }, capacities)
    if (words !== null) throw new HakuError('node.too_small', words)
  }
}
