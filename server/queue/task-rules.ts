import type { TaskOrder } from '#core/api/schemas.ts'
import type { Config } from '#core/config/schema.ts'
import { HakuError } from '#core/errors.ts'
import { whyTooLong } from '#core/tasks/command-size.ts'
import { replaceVariables } from '#core/tasks/items.ts'
import { parseSize } from '#core/tasks/sizes.ts'
import type { NodeRecord } from '../nodes/nodes.ts'
import type { TaskRecord } from './task-record.ts'

/** What the configuration says of all tasks. */
export interface TaskRules {
  /** Of tasks that name none. */
  network: string
  allowedNetworks: readonly string[]
  /** All tasks are. */
  isPrivileged: boolean
  allowPrivileged: boolean
  mounts: readonly string[]
  allowedMounts: readonly string[]
  /** Of tasks in a container that name none; `null`: the image's. */
  user: string | null
  maxOutputBytes: number | null
}

export function taskRules({ docker, logs }: Pick<Config, 'docker' | 'logs'>): TaskRules {
  return {
    network: docker.network,
    allowedNetworks: [...new Set([docker.network, ...docker.allowed_networks])],
    isPrivileged: docker.tasks_privileged,
    allowPrivileged: docker.tasks_privileged || docker.allow_privileged,
    mounts: docker.additional_mounts,
    allowedMounts: docker.allowed_mounts,
    user: docker.default_user || null,
    maxOutputBytes: logs.max_bytes === '' ? null : parseSize(logs.max_bytes),
  }
}

/** Everything that a node needs to run a task. @throws `node.too_small` if the node lost a GPU that the task was given, `task.command_invalid` if its item makes the command too long */
export function toOrder(task: TaskRecord, node: NodeRecord | undefined, rules: TaskRules): TaskOrder {
  const { id, instance, environment, version, pinned, cores, memoryBytes, numaNode, workdir, timeLimitSeconds, signal, graceSeconds } = task
  const { command, env } = commandOf(task)
  return {
    id,
    instance,
    image: environment === null || version === null || pinned === null ? null : { environment, version, ...pinned },
    command,
    env,
    mounts: environment === null ? [] : [...rules.mounts],
    userMounts: environment === null ? [] : task.mounts,
    allowedMounts: [...rules.allowedMounts],
    cores,
    memoryBytes,
    numaNode,
    gpus: task.gpuIds.map((gpuId) => ({ id: gpuId, uuid: uuidOf(gpuId, node) })),
    // A plain process runs as its node's user unless the task names one.
    user: task.user ?? (environment === null ? null : rules.user),
    workdir,
    network: task.network ?? rules.network,
    privileged: rules.isPrivileged || task.privileged,
    timeLimitSeconds,
    signal,
    graceSeconds,
    maxOutputBytes: rules.maxOutputBytes,
    pack: task.pack ? task.batch : null,
  }
}

// --- internal ---

/** An item's own: only now it is known how long they are. */
function commandOf({ index, variables, command, env }: TaskRecord): Pick<TaskOrder, 'command' | 'env'> {
  if (index === null) return { command, env }
  const own = { command: command.map((argument) => replaceVariables(argument, variables)), env: { ...env, ...variables } }
  const why = whyTooLong(own.command, own.env)
  if (why !== undefined) throw new HakuError('task.command_invalid', `With the variables of item ${index} the command is too long. ${why}`)
  return own
}

function uuidOf(gpuId: number, node: NodeRecord | undefined): string {
  const gpu = node?.gpus.find(({ id }) => id === gpuId)
  if (!gpu) throw new HakuError('node.too_small', `${node?.hostname ?? 'The node'} has no GPU ${gpuId} any more, which the task was given. Submit it again.`)
  return gpu.uuid
}
