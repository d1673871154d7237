import { execFile } from 'node:child_process'
import { chown, mkdir, rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { TaskOrder } from '#core/api/schemas.ts'
import { errorMessage, HakuError } from '#core/errors.ts'
import { processCgroup, type ProcessPaths } from '#core/paths.ts'
import { outputChannels } from '#core/tasks/channels.ts'
import { PIDS_LIMIT } from '../executors/limits.ts'
import { makeDirectory } from '../executors/make-directory.ts'
import { TaskFailure } from '../executors/task-failure.ts'
import type { TaskRun } from '../executors/task-run.ts'
import { taskVariables } from '../executors/variables.ts'
import { FORMAT, writeJson } from '../keeping/files.ts'
import type { ProcessOrder } from './order.ts'
import { createScope } from './scope/create.ts'
import type { ProcessServices } from './services.ts'
import { type ProcessUser, resolveUser } from './user.ts'

/** As in a container. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Makes everything that a process needs. The order is written last: without it nothing was made. */
export async function createProcess(run: TaskRun, paths: ProcessPaths, services: ProcessServices): Promise<void> {
  const { order } = run.record
  assertUser(order)
  await services.cpus.take(run.record)
  const user = await resolveUser(order.user)
  const { cores = 0, cpus = null, memoryNodes = null } = services.cpus.limits(run.record)
  const env: Record<string, string> = { PATH, HOME: user.home, ...taskVariables(order, services.hostname), ...gpuVariables(order), HAKURIVER_ENVIRONMENT: 'NULL' }
  try {
    if (order.workdir === null) await makeDirectory(services.paths.data)
    const workdir = order.workdir ?? services.paths.data
    // Left by a crash before its order was written.
    await rm(paths.directory, { recursive: true, force: true })
    await mkdir(paths.directory, { recursive: true, mode: 0o700 })
    await makePipes(paths, user)
    const scope = createScope(services.cgroups(), {
      path: processCgroup(services.hostname, order.id, order.instance),
      marks: (['HAKURIVER_TASK_ID', 'HAKURIVER_NODE', 'HAKURIVER_INSTANCE'] as const).map((name) => `${name}=${env[name]}`),
      limits: { cores, cpus, memoryNodes, memoryBytes: order.memoryBytes, processes: PIDS_LIMIT },
    })
    writeJson(paths.order, { format: FORMAT, command: order.command, env, workdir, user: user.ids, maxOutputBytes: order.maxOutputBytes, scope: scope.handle, missing: scope.missing } satisfies ProcessOrder)
  } catch (error) {
    throw new TaskFailure('start_failed', error instanceof HakuError ? error : new Error(`The process can not be prepared on this node: ${errorMessage(error)}.`, { cause: error }))
  }
}

// --- internal ---

function assertUser({ user }: TaskOrder): void {
  const uid = process.getuid?.()
  if (user !== null && uid !== 0 && uid !== Number(user.split(':')[0])) throw new TaskFailure('start_failed', new Error(`The Runner of this node runs as user ${uid} and not as root, so it can start nothing as user ${user}. Leave --user out, and it runs as user ${uid}, or run the Runner as root.`))
}

/** A process sees those that are named. One that asked for none gets none, as in a container. */
function gpuVariables({ gpus }: TaskOrder): Record<string, string> {
  const uuids = gpus.map(({ uuid }) => uuid).join(',')
  return { CUDA_VISIBLE_DEVICES: uuids, NVIDIA_VISIBLE_DEVICES: uuids === '' ? 'void' : uuids }
}

/** The process may open them again, by the names /dev/stdout and /dev/stderr. */
async function makePipes(paths: ProcessPaths, { ids }: ProcessUser): Promise<void> {
  const pipes = outputChannels.map(paths.pipe)
  await promisify(execFile)('mkfifo', ['-m', '600', ...pipes])
  if (ids && process.getuid?.() === 0) for (const pipe of pipes) await chown(pipe, ids.uid, ids.gid)
}

