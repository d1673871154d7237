import type { Dependency, SubmitBody } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { commandBytes, whyTooLong } from '#core/tasks/command-size.ts'
import { indexesOf, RESERVED_PREFIX } from '#core/tasks/items.ts'
import { assertDistinctTargets, parseMount } from '#core/tasks/mounts.ts'
import { parseTarget, type Target } from '#core/tasks/targets.ts'
import { resolveUserMounts } from '../environments/mounts.ts'
import type { Nodes } from '../nodes/nodes.ts'
import { refusal } from '../scheduler/fit.ts'
import type { ResourceRequest } from '../scheduler/types.ts'
import type { Submitted } from './make-records.ts'
import type { TaskRules } from './task-rules.ts'

export interface SubmissionChecks {
  nodes: Pick<Nodes, 'list' | 'find'>
  rules: TaskRules
  find(id: string): Promise<object | undefined>
  /** It repeats what was accepted before, with variables that HakuRiver set. */
  isRepetition?: boolean
}

/**
 * Checks all of a submission but its version.
 *
 * @throws `target.invalid`, `node.not_found`, `node.too_small`, `task.command_invalid`, `task.items_invalid`, `task.mount_not_allowed`, `task.not_allowed`, `task.not_found`
 */
export async function checkSubmission(body: Submitted, { nodes, rules, find, isRepetition = false }: SubmissionChecks): Promise<void> {
  if (!isRepetition) assertVariables(body.env)
  assertSize(body)
  assertItems(body)
  if (body.environment === null) assertPlain(body)
  assertAllowed(body, rules)
  await resolveUserMounts(body.mounts, rules.allowedMounts)
  assertDistinctTargets([...rules.mounts, ...body.mounts].map(parseMount))
  for (const text of body.targets.length > 0 ? body.targets : [null]) assertFits(requestOf(body, text), nodes)
  for (const dependency of body.after) await assertKnown(dependency, find)
}

/** What a task asks a node for. @throws `target.invalid` */
export function requestOf(task: Pick<SubmitBody, 'cores' | 'memoryBytes' | 'gpus' | 'gpuMemoryBytes' | 'environment'>, target: string | null): ResourceRequest {
  const { cores, memoryBytes, gpus, gpuMemoryBytes, environment } = task
  return { target: target === null ? null : parseTarget(target), cores, memoryBytes, gpus, gpuMemoryBytes, plain: environment === null }
}

/** Refuses what no node could ever run, and names the nearest. Without any node the task waits for the first. @throws `node.not_found`, `node.too_small` */
export function assertFits(request: ResourceRequest, nodes: Pick<Nodes, 'list' | 'find'>): void {
  const known = nodes.list()
  if (request.target !== null) assertNode(request.target, known.map(({ hostname }) => hostname))
  const words = refusal(request, known)
  if (words === null) return
  const cure = request.plain && !known.some(({ plainProcesses }) => plainProcesses) ? ' A node takes tasks without a container once its configuration says runner.plain_processes = true.' : ''
  throw new HakuError('node.too_small', words + cure)
}

// --- internal ---

function assertVariables(env: SubmitBody['env']): void {
  const reserved = Object.keys(env).find((name) => name.startsWith(RESERVED_PREFIX))
  if (reserved !== undefined) throw new HakuError('task.command_invalid', `The environment variable ${quote(reserved)} can not be set: names with ${RESERVED_PREFIX} in front are HakuRiver's own.`)
  const odd = Object.keys(env).find((name) => /[\s=]/.test(name))
  if (odd !== undefined) throw new HakuError('task.command_invalid', `${quote(odd)} is no name of an environment variable: it has a blank or "=". Leave that out.`)
}

/** Each target gets a task with all of it: they are stored and answered in one piece. */
const MAX_TARGET_BYTES = 64 * 1024 * 1024

function assertSize({ command, env, targets }: Submitted): void {
  const why = whyTooLong(command, env)
  if (why !== undefined) throw new HakuError('task.command_invalid', why)
  if (commandBytes(command, env) * targets.length > MAX_TARGET_BYTES) {
    throw new HakuError('task.command_invalid', `The command and its environment variables have ${commandBytes(command, env).toLocaleString('en')} bytes, for each of ${targets.length} targets: more than 64 MiB in all. Submit it for fewer targets at a time, or put it into a file.`)
  }
}

function assertItems({ items, targets, parallel, pack, environment }: Submitted): void {
  if (items) {
    indexesOf(items)
    if (targets.length > 1) throw new HakuError('task.items_invalid', `The items of a batch have one target at most, and ${targets.length} were given. Submit the batch once for each target.`)
  }
  if (parallel !== null && !items && targets.length < 2) throw new HakuError('task.items_invalid', 'How many run at a time can only be said of a batch, and this is one task. Leave out "parallel".')
  if (pack && (!items || environment === null)) throw new HakuError('task.items_invalid', 'Only items of an array, of lines or of a sweep that run in containers can share one. Leave out "pack".')
}

function assertPlain({ mounts, network, privileged, version }: Submitted): void {
  const given = [mounts.length > 0 && 'mounts', network !== null && 'a network', privileged && 'privileges', version !== undefined && 'a version'].filter((word) => word !== false)
  if (given.length > 0) throw new HakuError('task.command_invalid', `A task without a container can not have ${given.join(', ')}: it runs on the node as it is. Leave that out, or name an environment.`)
}

function assertAllowed({ privileged, network }: Submitted, rules: TaskRules): void {
  if (privileged && !rules.allowPrivileged) throw new HakuError('task.not_allowed', 'Tasks may not be privileged here. docker.allow_privileged in the configuration of the Host decides.')
  if (network !== null && !rules.allowedNetworks.includes(network)) {
    throw new HakuError('task.not_allowed', `Tasks may not use the network ${quote(network)}. Those of docker.allowed_networks in the configuration of the Host may be used: ${rules.allowedNetworks.join(', ')}.`)
  }
}

function assertNode(target: Target, known: readonly string[]): void {
  if (known.includes(target.node)) return
  throw new HakuError('node.not_found', `There is no node ${quote(target.node)}. ${known.length > 0 ? `Known nodes: ${known.join(', ')}.` : 'No node has registered yet.'}`)
}

async function assertKnown({ task, on }: Dependency, find: SubmissionChecks['find']): Promise<void> {
  if (!(await find(task))) throw new HakuError('task.not_found', `There is no task ${quote(task)} to wait for (${on}:${task}). See "hakuriver.task list".`)
}
