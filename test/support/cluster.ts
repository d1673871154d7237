import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { hostApi, type HostApi } from '#core/api/host.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { freePort } from '#simulator/free-port.ts'

const BIN = fileURLToPath(new URL('../../dist/bin/', import.meta.url))

export interface ClusterOptions {
  /** Socket of the Host's Engine. */
  hostSocket: string
  /** Node name → socket of its Engine. */
  nodes: Record<string, string>
  /** Added to the sections of every configuration file. */
  config?: Record<string, Record<string, unknown>>
  /** Added to the configuration of one node. Nothing has been started yet in the cluster's directory. */
  nodeConfig?: (hostname: string, ports: { host: number; runner: number }, directory: string) => Promise<Record<string, Record<string, unknown>>>
  /** Added to the environment of every process. */
  env?: NodeJS.ProcessEnv
}

export interface Finished {
  code: number | null
  stdout: string
  stderr: string
}

export interface Service {
  readonly pid: number
  /** What it has logged. */
  readonly log: string
  /** SIGTERM, or another signal. Resolves to its exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/** A Host and Runners as a user starts them: from configuration files, through the built commands. */
export interface Cluster {
  directory: string
  sharedDir: string
  configFile: string
  url: string
  token: string
  client: Client<HostApi>
  host: Service
  runners: Record<string, Service>
  startHost(): Promise<void>
  startRunner(hostname: string): Promise<void>
  /** Runs a command to its end, with the cluster's configuration. */
  run(command: string, args: string[], options?: { input?: string; env?: NodeJS.ProcessEnv }): Promise<Finished>
  /** The environment of a command, for those who start it themselves. */
  env: NodeJS.ProcessEnv
  /** Ends everything it started and removes its directory. */
  stop(): Promise<void>
}

/** Starts a Host and its Runners on free ports, and waits until all nodes are online. */
export async function startCluster({ hostSocket, nodes, config = {}, nodeConfig, env: added = {} }: ClusterOptions): Promise<Cluster> {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-cluster-'))
  const sharedDir = join(directory, 'shared')
  mkdirSync(sharedDir)
  const hostPort = await freePort()
  const hostFile = writeConfig(directory, 'host', config, {
    network: { host_port: hostPort },
    paths: { shared_dir: sharedDir, state_dir: join(directory, 'host') },
    docker: { socket: hostSocket },
  })
  const nodeFiles: Record<string, string> = {}
  for (const [hostname, socket] of Object.entries(nodes)) {
    const runnerPort = await freePort()
    nodeFiles[hostname] = writeConfig(directory, hostname, config, {
      network: { host_port: hostPort, runner_port: runnerPort },
      paths: { shared_dir: sharedDir, state_dir: join(directory, hostname), local_temp_dir: join(directory, `${hostname}-temp`) },
      docker: { socket },
      runner: { hostname },
      auth: { token_file: join(directory, 'host', 'runner.token') },
    }, (await nodeConfig?.(hostname, { host: hostPort, runner: runnerPort }, directory)) ?? {})
  }
  const url = `http://127.0.0.1:${hostPort}`
  const env = { ...process.env, ...added, HAKURIVER_CONFIG: hostFile, PATH: `${BIN}:${process.env['PATH']}`, HOME: directory }

  const cluster: Cluster = {
    directory,
    sharedDir,
    configFile: hostFile,
    url,
    env,
    token: '',
    client: createClient({ api: hostApi, url, token: undefined, unreachable: 'host.unreachable' }),
    host: stopped(),
    runners: {},
    async startHost() {
      cluster.host = await startService('hakuriver.host', hostFile, env)
      cluster.token = readFileSync(join(directory, 'host', 'admin.token'), 'utf8').trim()
      cluster.client.close()
      cluster.client = createClient({ api: hostApi, url, token: cluster.token, unreachable: 'host.unreachable' })
    },
    async startRunner(hostname) {
      cluster.runners[hostname] = await startService('hakuriver.runner', nodeFiles[hostname] ?? '', env)
    },
    run: (command, args, options = {}) => runCommand(command, args, { input: options.input, env: { ...env, ...options.env } }),
    async stop() {
      cluster.client.close()
      await Promise.all(Object.values(cluster.runners).map((runner) => runner.stop()))
      await cluster.host.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
  try {
    await cluster.startHost()
    for (const hostname of Object.keys(nodes)) await cluster.startRunner(hostname)
    await untilOnline(cluster, Object.keys(nodes))
  } catch (error) {
    await cluster.stop()
    throw error
  }
  return cluster
}

/** Resolves once all nodes are online. */
export async function untilOnline(cluster: Cluster, hostnames: string[]): Promise<void> {
  const deadline = Date.now() + 30_000
  for (;;) {
    const { items } = await cluster.client.call('listNodes', {})
    const online = items.filter(({ state }) => state === 'online').map(({ hostname }) => hostname)
    if (hostnames.every((hostname) => online.includes(hostname))) return
    if (Date.now() > deadline) throw new Error(`not online: ${hostnames.join(', ')}\n${Object.values(cluster.runners).map(({ log }) => log).join('\n')}`)
    // Nothing tells of registrations from outside, so this looks again.
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Runs a command of the project to its end. */
export async function runCommand(command: string, args: string[], { input, env = process.env }: { input?: string | undefined; env?: NodeJS.ProcessEnv } = {}): Promise<Finished> {
  const child = spawn(join(BIN, command), args, { env, stdio: 'pipe' })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  child.stdin.on('error', () => undefined)
  child.stdin.end(input ?? '')
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

// --- internal ---

function writeConfig(directory: string, name: string, ...parts: Record<string, Record<string, unknown>>[]): string {
  const sections = new Map<string, Record<string, unknown>>()
  for (const part of parts) for (const [section, values] of Object.entries(part)) sections.set(section, { ...sections.get(section), ...values })
  const text = [...sections].map(([section, values]) => `[${section}]\n${Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join('')}`).join('\n')
  const file = join(directory, `${name}.toml`)
  writeFileSync(file, text)
  return file
}

/** Resolves once the service says that it listens. */
async function startService(command: string, configFile: string, env: NodeJS.ProcessEnv): Promise<Service> {
  const child = spawn(join(BIN, command), ['--config', configFile], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = once(child, 'exit') as Promise<[number | null]>
  let log = ''
  const listening = new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        log += `${line}\n`
        if (line.includes(' listens on ')) resolve()
      })
    }
  })
  const ended = await Promise.race([listening, exited])
  if (Array.isArray(ended)) throw new Error(`${command} ended with ${ended[0]} before it listened:\n${log}`)
  return toService(child, exited, () => log)
}

function toService(child: ChildProcess, exited: Promise<[number | null]>, log: () => string): Service {
  return {
    pid: child.pid ?? 0,
    get log() {
      return log()
    },
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      const [code] = await exited
      return code
    },
  }
}

function stopped(): Service {
  return { pid: 0, log: '', stop: () => Promise.resolve(null) }
}
