import { mkdtempSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TaskOrder, VersionOrder } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { labels, type SharedPaths, sharedPaths, tarballFileName } from '#core/paths.ts'

/** The directories of one Runner under test, and the clean-up of all that it leaves. */
export interface Workspace {
  root: string
  hostname: string
  stateDir: string
  localTempDir: string
  paths: SharedPaths
  stdout(id: string, instance?: number): Promise<string>
  stderr(id: string, instance?: number): Promise<string>
  /** Containers of this Runner, by task id; of the highest instance there is. */
  containers(): Promise<Map<string, string>>
  remove(): Promise<void>
}

export async function createWorkspace(engine: Pick<Engine, 'listContainers' | 'removeContainer'>): Promise<Workspace> {
  const root = mkdtempSync(join(tmpdir(), 'hakuriver-runner-test-'))
  const hostname = `test-${createId()}`
  const paths = sharedPaths(join(root, 'shared'), 'hakuriver-containers')
  await mkdir(paths.tarballs, { recursive: true })
  await writeFile(paths.mark, '')
  return {
    root,
    hostname,
    stateDir: join(root, 'state'),
    localTempDir: join(root, 'local'),
    paths,
    stdout: (id, instance = 1) => readFile(paths.stdout(id, instance), 'utf8'),
    stderr: (id, instance = 1) => readFile(paths.stderr(id, instance), 'utf8'),
    async containers() {
      const found = await engine.listContainers({ [labels.node]: hostname })
      return new Map(found.map((container) => [container.labels[labels.task] ?? '', container.id]))
    },
    async remove() {
      for (const { id } of await engine.listContainers({ [labels.node]: hostname })) await engine.removeContainer(id)
      await rm(root, { recursive: true, force: true })
    },
  }
}

/** An order that runs `command` in the image `imageId`, which the Engine has. */
export function createOrder(imageId: string, command: string[], change: Partial<TaskOrder> = {}): TaskOrder {
  return {
    id: createId(),
    instance: 1,
    image: { environment: 'test-env', version: 1_700_000_000, fileName: 'test-env-1700000000.tar', configDigest: imageId, manifestDigest: null },
    command,
    env: {},
    mounts: [],
    userMounts: [],
    allowedMounts: [],
    cores: 1,
    memoryBytes: null,
    numaNode: null,
    gpus: [],
    user: null,
    workdir: null,
    network: 'none',
    privileged: false,
    timeLimitSeconds: null,
    signal: 'SIGTERM',
    graceSeconds: 10,
    maxOutputBytes: null,
    pack: null,
    ...change,
  }
}

/** A version that {@link createOrder} can be given. */
export function imageOf(environment: string, version: number): VersionOrder {
  return { environment, version, fileName: tarballFileName(environment, version), configDigest: null, manifestDigest: null }
}

/** The configuration file of a Runner in `workspace`. */
export async function writeConfig(workspace: Workspace, options: { hostPort: number; runnerPort: number; token: string; socketPath: string }): Promise<string> {
  const file = join(workspace.root, 'config.toml')
  const tokenFile = join(workspace.root, 'runner.token')
  await writeFile(tokenFile, `${options.token}\n`)
  await writeFile(
    file,
    `[network]
host_port = ${options.hostPort}
runner_port = ${options.runnerPort}
[paths]
shared_dir = ${JSON.stringify(workspace.paths.root)}
state_dir = ${JSON.stringify(workspace.stateDir)}
local_temp_dir = ${JSON.stringify(workspace.localTempDir)}
[docker]
socket = ${JSON.stringify(options.socketPath)}
[runner]
hostname = ${JSON.stringify(workspace.hostname)}
[auth]
token_file = ${JSON.stringify(tokenFile)}
`,
  )
  return file
}
