import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mtuArguments, spawnDaemon, storageArguments, untilAnswer, whatIsMissing, type Daemon } from '../../build/engine-setup.mjs'
import { run } from '../../build/programs.mjs'
import { provideRelease, type Release } from './releases.ts'

/** An Engine of its own, beside all others on this machine. */
export interface TestEngine {
  socketPath: string
  /** Ends it and removes all that belongs to it. */
  stop(): Promise<void>
}

/** Why no further Engines can be started here; `undefined` if they can. */
export function whyNoEngines(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can start Engines of its own'
  return whatIsMissing()
}

/**
 * Starts an Engine with its own data, socket and bridge. `release`: `installed` is the machine's own dockerd, others are unpacked
 * from packages, not installed.
 */
export async function startTestEngine(release: Release = 'installed'): Promise<TestEngine> {
  const binaries = await provideRelease(release)
  // Short: the path of a Unix socket may have 107 bytes, and dockerd puts its own below this.
  const directory = mkdtempSync(join(tmpdir(), 'hre-'))
  const bridge = await createBridge()
  const socketPath = join(directory, 'docker.sock')
  let daemon: Daemon | undefined

  const stop = async () => {
    await daemon?.stop()
    await endLeftovers(directory)
    await unmountBelow(directory)
    await mustRun('ip', ['link', 'delete', bridge.name])
    rmSync(directory, { recursive: true, force: true })
  }

  try {
    const data = join(directory, 'data')
    mkdirSync(data)
    const configFile = join(directory, 'daemon.json')
    writeFileSync(configFile, JSON.stringify(binaries.config))
    const logFile = join(directory, 'log')
    const options = ['--config-file', configFile, '--data-root', data, '--exec-root', join(directory, 'exec'), '--pidfile', join(directory, 'pid'), '-H', `unix://${socketPath}`, '--bridge', bridge.name]
    const storage = binaries.config.features ? [] : storageArguments(data)
    daemon = spawnDaemon(binaries.dockerd, [...options, ...storage, ...mtuArguments()], { logFile, env: { ...process.env, PATH: binaries.path } })
    const failure = await untilAnswer(socketPath, () => daemon?.ended)
    if (failure) throw new Error(`the Engine ${release} does not answer: ${failure}\n${readFileSync(logFile, 'utf8').split('\n').slice(-15).join('\n')}`)
  } catch (error) {
    await stop()
    throw error
  }
  return { socketPath, stop }
}

// --- internal ---

/** A bridge in a subnet that nobody uses. Without one of its own an Engine would take, or delete, that of another. */
async function createBridge(): Promise<{ name: string }> {
  const { output: used } = await run('ip', ['-4', 'addr'])
  const free = Array.from({ length: 200 }, (_, index) => 50 + ((index + process.pid) % 200)).filter((octet) => !used.includes(`172.31.${octet}.`))
  for (const octet of free) {
    const name = `hre${octet}`
    const { code } = await run('ip', ['link', 'add', name, 'type', 'bridge'])
    // Another test process was quicker.
    if (code !== 0) continue
    await mustRun('ip', ['addr', 'add', `172.31.${octet}.1/24`, 'dev', name])
    await mustRun('ip', ['link', 'set', name, 'up'])
    return { name }
  }
  throw new Error('no free bridge for a test Engine')
}

/** Shims and containers outlive a dockerd. Those of this one have its directory in their command line or root. */
async function endLeftovers(directory: string): Promise<void> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((pid) => belongsTo(Number(pid), directory))
  for (const pid of pids) {
    try {
      process.kill(Number(pid), 'SIGKILL')
    } catch {
      // It ended by itself in between.
    }
  }
  const deadline = Date.now() + 10_000
  while (pids.some((pid) => existsSync(`/proc/${pid}`) && !isZombie(pid)) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20))
}

function belongsTo(pid: number, directory: string): boolean {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    return pid !== process.pid && (command.includes(`${directory}/`) || readlinkSync(`/proc/${pid}/cwd`).startsWith(`${directory}/`))
  } catch {
    return false
  }
}

function isZombie(pid: string): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return true
  }
}

async function unmountBelow(directory: string): Promise<void> {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((line) => line.split(' ')[1] ?? '').filter((path) => path.startsWith(`${directory}/`))
  for (const path of mounts.toReversed()) await run('umount', ['-l', path])
}

async function mustRun(program: string, parameters: string[]): Promise<void> {
  const { code, output } = await run(program, parameters)
  if (code !== 0) throw new Error(`${program} ${parameters.join(' ')} ended with ${code}: ${output}`)
}
