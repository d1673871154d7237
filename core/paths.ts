import { homedir } from 'node:os'
import { join } from 'node:path'
import { isEnvironmentName, readVersionNumber } from './names.ts'
import type { OutputChannel } from './tasks/channels.ts'

/**
 * Every path and every derived name that HakuRiver uses. Nobody else joins path strings.
 *
 * ```
 * <shared_dir>/                          mounted on the Host and on every node, by the lab
 * ├─ <container_dir>/
 * │  ├─ <environment>-<seconds>.tar      a version: a plain archive that `docker load` takes
 * │  ├─ <environment>-<seconds>.json     its manifest, written last
 * │  └─ .tmp-<host id>-…                 being written; outside the listing grammar
 * ├─ .hakuriver-storage                  put there by the Host: without it, a mount is missing
 * ├─ task_outputs/<task id>.out          what a task printed; <task id>-2.out at its second execution
 * ├─ task_errors/<task id>.err
 * └─ shared_data/                        seen in tasks as /shared
 *
 * <state_dir>/                           local, one per Host or Runner
 * ├─ host.db  host.id                    of a Host
 * ├─ admin.token  runner.token           of a Host
 * ├─ storage.mark                        of a Host: the shared directory has been marked
 * ├─ spool/  captures/                   of a Host: see server/environments
 * ├─ processes/<task id>/                of a Runner: a task without a container; <task id>-2 at its second execution
 * ├─ items/<task id>/                    of a Runner: an item that shares a container, alike
 * ├─ items/<container>.pipes/            of a Runner: the pipes of a container that items share
 * ├─ items/keeper.log                    of a Runner: what those who look after items complain about
 * ├─ layers/                             of a Runner: layers to give to other nodes
 * └─ runner.db  host.token               of a Runner
 *
 * ~/.hakuriver/                          a user's, or of whoever runs Host and Runner
 * ├─ config.toml
 * ├─ credentials.json                    tokens by Host, as `hakuriver login` stored them
 * └─ shared/  state/                     where the two above are unless configured
 * ```
 */

export const SHARED_MOUNT = '/shared'
export const LOCAL_TEMP_MOUNT = '/local_temp'

/** Of the two directories that tasks see there: they run as many users, so it is that of /tmp. */
export const TASK_DIRECTORY_MODE = 0o1777

/** Labels on containers and images. Only labelled objects are ever listed, entered, stopped or removed. */
export const labels = {
  /** On a persistent container of the Host: the environment's name. */
  container: 'hakuriver.container',
  /** On a persistent container: a digest of the options it was created with. */
  options: 'hakuriver.options',
  /** On a persistent container: the tag of the image that was loaded for it alone, and goes with it. */
  image: 'hakuriver.image',
  /** On a task's container: the task's id. */
  task: 'hakuriver.task',
  /** On a task's container: which execution of the task it is, from 1. */
  instance: 'hakuriver.instance',
  /** On a container that tasks share: what they have in common. */
  pack: 'hakuriver.pack',
  /** On a task's container: the node whose Runner owns it, because two Runners may share one Engine. */
  node: 'hakuriver.node',
  /** On an image: the environment it is a version of. */
  environment: 'hakuriver.environment',
  /** On an image: the version, Unix seconds. */
  version: 'hakuriver.version',
} as const

/** Paths below the home directory of whoever asks. */
export function homePaths() {
  const root = join(homedir(), '.hakuriver')
  return {
    config: join(root, 'config.toml'),
    credentials: join(root, 'credentials.json'),
    shared: join(root, 'shared'),
    state: join(root, 'state'),
  }
}

export interface SharedPaths {
  root: string
  /** Tells the shared directory from the place where it is not mounted. */
  mark: string
  tarballs: string
  outputs: string
  errors: string
  data: string
  /** `instance` counts the executions of a task from 1. */
  stdout(taskId: string, instance: number): string
  stderr(taskId: string, instance: number): string
}

/** Paths below the shared directory, as this machine mounts it. */
export function sharedPaths(sharedDir: string, containerDir: string): SharedPaths {
  const outputs = join(sharedDir, 'task_outputs')
  const errors = join(sharedDir, 'task_errors')
  return {
    root: sharedDir,
    mark: join(sharedDir, '.hakuriver-storage'),
    tarballs: join(sharedDir, containerDir),
    outputs,
    errors,
    data: join(sharedDir, 'shared_data'),
    stdout: (taskId, instance) => join(outputs, `${executionName(taskId, instance)}.out`),
    stderr: (taskId, instance) => join(errors, `${executionName(taskId, instance)}.err`),
  }
}

/** Paths below a Host's state directory. */
export function hostStatePaths(stateDir: string) {
  return {
    root: stateDir,
    database: join(stateDir, 'host.db'),
    hostId: join(stateDir, 'host.id'),
    storageMark: join(stateDir, 'storage.mark'),
    adminToken: join(stateDir, 'admin.token'),
    runnerToken: join(stateDir, 'runner.token'),
    /** Changes of containers until they are published. */
    spool: join(stateDir, 'spool'),
    /** What the containers' writable layers were at their last version. */
    captures: join(stateDir, 'captures'),
  }
}

/** Paths below a Runner's state directory. */
export function runnerStatePaths(stateDir: string) {
  return {
    root: stateDir,
    database: join(stateDir, 'runner.db'),
    /** The secret that the Host shows when it calls this Runner. */
    hostToken: join(stateDir, 'host.token'),
    /** Layers to give to other nodes. */
    layers: join(stateDir, 'layers'),
    /** Tasks without a container: see {@link processPaths}. */
    processes: join(stateDir, 'processes'),
    /** What items that share containers print, in directories alike. */
    items: join(stateDir, 'items'),
  }
}

/** The directory of one execution of a task without a container, below {@link runnerStatePaths}' `processes`. */
export function processDirectory(processes: string, taskId: string, instance: number): string {
  return join(processes, executionName(taskId, instance))
}

/** The named pipes of a container that items share, below {@link runnerStatePaths}' `items`. */
export function pipesDirectory(items: string, containerName: string): string {
  return join(items, `${containerName}.pipes`)
}

/** What the keepers of items complain about, in {@link runnerStatePaths}' `items`. */
export function keeperLog(items: string): string {
  return join(items, 'keeper.log')
}

/** The execution that a name of {@link processDirectory} stands for; `undefined`: none. */
export function parseExecutionName(name: string): { id: string; instance: number } | undefined {
  const groups = /^(?<id>[0-9a-z]{26}(?:\.\d+)?)(?:-(?<instance>\d+))?$/.exec(name)?.groups
  return groups?.['id'] === undefined ? undefined : { id: groups['id'], instance: Number(groups['instance'] ?? 1) }
}

/** What is in the directory of a task without a container. What which file means is in `docs/plain-processes.md`. */
export function processPaths(directory: string) {
  return {
    directory,
    order: join(directory, 'order.json'),
    /** `generation` counts the supervisors of this process from 1. */
    claim: (generation: number) => join(directory, `supervisor-${generation}.json`),
    started: join(directory, 'started.json'),
    ended: join(directory, 'ended.json'),
    log: join(directory, 'supervisor.log'),
    /** What the process writes into. */
    pipe: (channel: OutputChannel) => join(directory, `${channel}.pipe`),
    /** What it has printed. */
    output: (channel: OutputChannel) => join(directory, channel),
  }
}
export type ProcessPaths = ReturnType<typeof processPaths>

/** The cgroup of one execution, below the root of a hierarchy. */
export function processCgroup(node: string, taskId: string, instance: number): string {
  return join('hakuriver', node, executionName(taskId, instance))
}

/** The key of a version's tarball in the tarball store: its file name. */
export function tarballFileName(environment: string, version: number): string {
  return `${environment}-${version}.tar`
}

/** The key of a version's manifest. */
export function manifestFileName(environment: string, version: number): string {
  return `${environment}-${version}.json`
}

const TARBALL_FILE_RE = /^(?<environment>.+)-(?<version>\d+)\.tar$/

/** Environment and version of a tarball's file name, or `undefined` if it is not one: only the last `-<digits>` is the version. */
export function parseTarballFileName(fileName: string): { environment: string; version: number } | undefined {
  const groups = TARBALL_FILE_RE.exec(fileName)?.groups
  const version = readVersionNumber(groups?.['version'] ?? '')
  if (!groups?.['environment'] || version === undefined || !isEnvironmentName(groups['environment'])) return undefined
  return { environment: groups['environment'], version }
}

/** What all temporary keys begin with. Neither an environment name nor a listing ever does. */
export const TEMPORARY_PREFIX = '.tmp-'

/** The beginning of all temporary keys of one Host, so that a start sweeps its own litter and never another Host's live work. */
export function temporaryPrefix(ownerId: string): string {
  return `${TEMPORARY_PREFIX}${ownerId}-`
}

const OUTPUT_FILE_RE = /^(?<taskId>[0-9a-z]{26}(?:\.\d{1,9})?)(?:-(?<instance>[2-9]|[1-9]\d{1,8}))?\.(?:out|err)$/

/** Task and execution of an output's file name, or `undefined` if it is not one. */
export function parseOutputFileName(fileName: string): { taskId: string; instance: number } | undefined {
  const groups = OUTPUT_FILE_RE.exec(fileName)?.groups
  return groups && { taskId: groups['taskId'] ?? '', instance: Number(groups['instance'] ?? 1) }
}

/** The image tag of an environment's newest version on a node. */
export function imageTag(environment: string): string {
  return `hakuriver/${environment}:base`
}

/** The image tag under which an operation packages, so that it can be told from everybody else's and removed. */
export function packagingTag(environment: string, operationId: string): string {
  return `hakuriver/${environment}:packaging-${operationId}`
}

/** The image tag of a version that a container of the Host is made from: the container's own, so that it can go with it. */
export function forkTag(container: string, environment: string, version: number): string {
  return `hakuriver/${environment}:${version}-for-${container}`
}

/** The container name of one execution of a task. */
export function taskContainerName(taskId: string, instance: number): string {
  return `hakuriver-task-${executionName(taskId, instance)}`
}

/** A container that items of a batch share on a node: see `--pack`. `variant` tells those apart that can not be one, as on two nodes of one Engine. */
export function packContainerName(pack: string, variant: string): string {
  return `hakuriver-pack-${pack}-${variant}`
}

// --- internal ---

/** Task ids have no dash. */
function executionName(taskId: string, instance: number): string {
  return instance === 1 ? taskId : `${taskId}-${instance}`
}
