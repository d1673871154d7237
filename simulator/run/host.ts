import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { hostStatePaths } from '#core/paths.ts'
import { freePort } from '../free-port.ts'

/** A Host as a user starts it, with nothing but temporary directories. */
export interface SimulatedHost {
  readonly pid: number
  readonly url: string
  readonly adminToken: string
  readonly runnerToken: string
  readonly sharedDir: string
  readonly database: string
  /** Resolves with the end of its log when it ends without being told to. */
  readonly died: Promise<string>
  /** Resolves once it has ended by itself, after SIGTERM. */
  stop(): Promise<void>
}

export interface HostOptions {
  /** Where everything of it goes. Must exist. */
  directory: string
  /** `dist/bin` */
  binDir: string
  /** Writes a CPU profile into this directory when it ends. */
  profileDir?: string | undefined
}

const LOG_LINES = 20

export async function startHost({ directory, binDir, profileDir }: HostOptions): Promise<SimulatedHost> {
  const sharedDir = join(directory, 'shared')
  const state = hostStatePaths(join(directory, 'state'))
  const configFile = join(directory, 'config.toml')
  const port = await freePort()
  mkdirSync(sharedDir, { recursive: true })
  writeFileSync(configFile, `[network]\nhost_port = ${port}\n\n[paths]\nshared_dir = ${JSON.stringify(sharedDir)}\nstate_dir = ${JSON.stringify(state.root)}\n\n[docker]\nsocket = ${JSON.stringify(join(directory, 'no-engine.sock'))}\n`)
  const program = join(binDir, 'hakuriver.host')
  // A group of its own: Ctrl-C is for whoever started it, who ends it.
  const child = spawn(process.execPath, [...nodeFlags(program), ...(profileDir ? ['--cpu-prof', `--cpu-prof-dir=${profileDir}`] : []), program, '--config', configFile], { env: ownEnvironment(), stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const log: string[] = []
  let isStopping = false
  const exited = once(child, 'exit')
  const died = exited.then(() => (isStopping ? new Promise<string>(() => {}) : log.join('\n')))
  const ended = await Promise.race([untilListening(child, log), exited])
  if (ended) throw new Error(`the Host ended before it listened:\n${log.join('\n')}`)
  return {
    pid: child.pid ?? 0,
    url: `http://127.0.0.1:${port}`,
    adminToken: readFileSync(state.adminToken, 'utf8').trim(),
    runnerToken: readFileSync(state.runnerToken, 'utf8').trim(),
    sharedDir,
    database: state.database,
    died,
    async stop() {
      isStopping = true
      child.kill('SIGTERM')
      await exited
    },
  }
}

// --- internal ---

/** The configuration file alone decides. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HAKURIVER_')))
}

/** Those that the program gives to Node: see `build/bins.mjs`. */
function nodeFlags(program: string): string[] {
  const [, flags = ''] = /; exec node (.*)-- "\$0" "\$@"$/m.exec(readFileSync(program, 'utf8')) ?? []
  return flags.split(' ').filter(Boolean)
}

async function untilListening({ stdout, stderr }: ChildProcess, log: string[]): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const input of [stdout, stderr]) {
      if (!input) continue
      createInterface({ input }).on('line', (line) => {
        log.push(line)
        if (log.length > LOG_LINES) log.shift()
        if (line.includes(' listens on ')) resolve()
      })
    }
  })
}
