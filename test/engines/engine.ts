import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { askEngine } from '../../build/engine-api.mjs'
import { type Daemon, mtuArguments, spawnDaemon, storageArguments, untilAnswer, whatIsMissing } from '../../build/engine-setup.mjs'
import { findProgram } from '../../build/programs.mjs'
import { type Bridge, createBridge } from './bridges.ts'
import { DIRECTORY_PREFIX, removeAbandoned, removeLeftovers, writeOwner } from './leftovers.ts'
import { provideRelease, type Release } from './releases.ts'

/** An Engine of its own, beside all others on this machine. */
export interface TestEngine {
  release: Release
  socketPath: string
  /** Goes away with it. */
  directory: string
  /** Ends its daemon as an upgrade does, and starts another over the same data; containers run on (`live-restore`). Resolves once it answers. */
  restart(): Promise<void>
  /** Ends it and removes all that belongs to it. */
  stop(): Promise<void>
}

/** Why no further Engines can be started here; `undefined` if they can. */
export function whyNoEngines(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can start Engines of its own'
  if (!findProgram('ip')) return 'there is no program ip: install the package iproute2'
  return whatIsMissing()
}

/**
 * Starts an Engine with its own data, socket and bridge. `release`: `installed` is the machine's own dockerd, others are unpacked
 * from packages, not installed. What it leaves when this process is killed, the next start removes.
 *
 * @throws an error that says why, with the end of the daemon's log; nothing is left behind then
 */
export async function startTestEngine(release: Release = 'installed'): Promise<TestEngine> {
  removeAbandoned()
  const binaries = await provideRelease(release)
  const directory = createDirectory()
  const socketPath = join(directory, 'docker.sock')
  let daemon: Daemon | undefined

  const removeAll = () => removeLeftovers(directory)
  process.once('exit', removeAll)
  const stop = async () => {
    process.removeListener('exit', removeAll)
    try {
      if (daemon && !daemon.ended) await removeContainers(socketPath)
      // One that hangs is killed with what is left.
      await Promise.race([daemon?.stop(), delay(STOP_DEADLINE_MS, undefined, { ref: false })])
    } finally {
      removeAll()
    }
  }

  const data = join(directory, 'data')
  const configFile = join(directory, 'daemon.json')
  const logFile = join(directory, 'log')

  async function launch(bridge: Bridge): Promise<void> {
    const storage = binaries.config.features ? [] : storageArguments(data)
    // Its packet filter rules would take the place of those of the machine's own Engine: the bridge brings what it needs.
    const network = ['--bridge', bridge.name, '--iptables=false', '--ip6tables=false', ...mtuArguments()]
    const places = ['--config-file', configFile, '--data-root', data, '--exec-root', join(directory, 'exec'), '--pidfile', join(directory, 'pid'), '-H', `unix://${socketPath}`]
    daemon = spawnDaemon(binaries.dockerd, [...places, ...network, ...storage], { logFile, env: { ...process.env, PATH: binaries.path } })
    const failure = await untilAnswer(socketPath, () => daemon?.ended)
    if (failure) throw new Error(`the Engine ${release} does not answer: ${failure}\n${readFileSync(logFile, 'utf8').split('\n').slice(-15).join('\n')}`)
  }

  try {
    mkdirSync(data)
    const bridge = createBridge()
    writeOwner(directory, bridge)
    writeFileSync(configFile, JSON.stringify({ ...binaries.config, 'live-restore': true }))
    await launch(bridge)
    return {
      release,
      socketPath,
      directory,
      stop,
      async restart() {
        await daemon?.stop()
        await launch(bridge)
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

// --- internal ---

/** Short: the path of a Unix socket may have 107 bytes, and dockerd puts its own below this. */
function createDirectory(): string {
  return mkdtempSync(join(tmpdir().length > 30 ? '/tmp' : tmpdir(), DIRECTORY_PREFIX))
}

const STOP_DEADLINE_MS = 30_000

/** Only for speed: dockerd would wait ten seconds for each container that ignores SIGTERM. */
async function removeContainers(socketPath: string): Promise<void> {
  const containers = (await askEngine(socketPath, 'GET', '/containers/json?all=1').catch(() => [])) as { Id: string }[]
  await Promise.allSettled(containers.map(({ Id }) => askEngine(socketPath, 'DELETE', `/containers/${Id}?force=1&v=1`)))
}
