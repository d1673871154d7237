// Finds a Docker Engine on this machine, or installs and starts one. Shared by the quickstart and the tests.
import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, rmSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { whyNoAnswer } from './engine-api.mjs'
import { readIfThere, tail } from './files.mjs'
import { findProgram, run } from './programs.mjs'

export const DEFAULT_SOCKET = '/var/run/docker.sock'
const PID_FILE = '/var/run/docker.pid'
const PACKAGES = ['docker.io', 'containerd', 'runc', 'iptables', 'iproute2', 'debootstrap', 'busybox-static']
const START_DEADLINE_MS = 60_000

/** What keeps this machine from having an Engine, in words for its user. */
export class EngineSetupError extends Error {}

/**
 * The Engine that answers here: the one `DOCKER_HOST` names, else the one at the default socket.
 * `{ socketPath }` or `{ missing }`, a sentence. @throws EngineSetupError if DOCKER_HOST names one that can not be used
 */
export async function findEngine(environment = process.env) {
  const named = environment.DOCKER_HOST
  if (named && !named.startsWith('unix://')) throw new EngineSetupError(`DOCKER_HOST is ${named}: only an Engine behind a Unix socket (unix:///path) can be used. Set it so, or unset it.`)
  const socketPath = named ? named.slice('unix://'.length) : DEFAULT_SOCKET
  const reason = await whyNoAnswer(socketPath)
  if (!reason) return { socketPath }
  if (named) throw new EngineSetupError(`DOCKER_HOST names ${socketPath}, but no Docker Engine answers there: ${reason}. Start it, or unset DOCKER_HOST.`)
  return { missing: `No Docker Engine answers at ${socketPath}: ${reason}.` }
}

/** Why an Engine can be neither installed nor started here; `undefined` if it can. */
export function whyNotInstallable() {
  if (process.platform !== 'linux') return 'it can be installed by itself on Debian and Ubuntu only: install Docker and start it'
  if (process.getuid?.() !== 0) return 'only root can install or start one: run this as root, or start Docker and give yourself access to its socket'
  if (findProgram('dockerd') || isDebianLike()) return undefined
  return 'it can be installed by itself on Debian and Ubuntu only: install Docker with the tools of this system and start it'
}

/** Installs the Engine and what the tests use from the packages of Debian or Ubuntu. */
export async function installEngine({ log = console.error } = {}) {
  log(`Installing a Docker Engine from this system's packages: ${PACKAGES.join(' ')}`)
  await aptGet(['update'], log)
  await aptGet(['install', '-y', '--no-install-recommends', ...PACKAGES], log)
}

/**
 * Starts the installed Engine and waits until it answers. Resolves to its socket and a `stop()` that ends exactly what was
 * started. @throws EngineSetupError with the end of its log
 */
export async function startEngine({ log = console.error, logFile = '/var/log/hakuriver-dockerd.log', socketPath = DEFAULT_SOCKET } = {}) {
  const obstacle = whatIsMissing()
  if (obstacle) throw new EngineSetupError(obstacle)
  return existsSync('/run/systemd/system') ? startService({ log, socketPath }) : startDaemon({ log, logFile, socketPath })
}

/** An Engine that answers, whatever it takes. `stop` is there only if this call started it. */
export async function provideEngine({ log = console.error, logFile, environment = process.env } = {}) {
  const found = await findEngine(environment)
  if (found.socketPath) return { socketPath: found.socketPath, stop: undefined }
  const reason = whyNotInstallable()
  if (reason) throw new EngineSetupError(`${found.missing} Here ${reason}.`)
  const lack = whatKernelLacks()
  if (lack) throw new EngineSetupError(`${found.missing} ${lack}`)
  log(found.missing)
  if (!findProgram('dockerd')) await installEngine({ log })
  // Some systems start the service while they install it.
  const again = await findEngine(environment)
  return again.socketPath ? { socketPath: again.socketPath, stop: undefined } : startEngine({ log, logFile })
}

/** Arguments for a dockerd on this machine whose data lies in `directory`. */
export function storageArguments(directory) {
  const overlayFs = 0x794c7630
  const nfs = 0x6969
  // An overlay does not go on top of these: the Engine then chooses what does.
  return [overlayFs, nfs].includes(statfsSync(existingAncestor(directory)).type) ? [] : ['--storage-driver', 'overlay2']
}

/** `--mtu` where the way out is narrower than Ethernet, else containers stall on the first full packet. */
export function mtuArguments() {
  const routes = readIfThere('/proc/net/route').split('\n').map((line) => line.split('\t'))
  const way = routes.find(([, destination]) => destination === '00000000')?.[0]
  const mtu = way ? Number(readIfThere(`/sys/class/net/${way}/mtu`)) : 0
  return mtu > 0 && mtu < 1500 ? ['--mtu', String(mtu)] : []
}

/** Why no dockerd can work here; `undefined` if nothing speaks against it. */
export function whatIsMissing() {
  if (!findProgram('dockerd')) return 'There is no dockerd on this machine.'
  if (!findProgram('iptables')) return 'There is no iptables on this machine, and dockerd needs it: install the package iptables.'
  return whatKernelLacks()
}

// --- internal ---

/** What no package brings. */
function whatKernelLacks() {
  const kinds = readIfThere('/proc/self/mounts').split('\n').map((line) => line.split(' ')[2])
  if (kinds.some((kind) => kind === 'cgroup' || kind === 'cgroup2')) return undefined
  return 'No control groups are mounted on this machine, and dockerd needs them: mount a cgroup2 file system at /sys/fs/cgroup.'
}

function isDebianLike() {
  return /^(?:ID|ID_LIKE)=.*\b(?:debian|ubuntu)\b/m.test(readIfThere('/etc/os-release')) && findProgram('apt-get') !== undefined
}

async function aptGet(parameters, log) {
  log(`$ apt-get ${parameters.join(' ')}`)
  const { code, output } = await run('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=180', ...parameters], { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
  if (code !== 0) throw new EngineSetupError(`apt-get ${parameters[0]} failed with ${code}: ${tail(output)}`)
}

async function startService({ log, socketPath }) {
  log('$ systemctl start docker')
  const { code, output } = await run('systemctl', ['start', 'docker'])
  if (code !== 0) throw new EngineSetupError(`systemctl start docker failed with ${code}: ${tail(output)} See journalctl -u docker.`)
  const reason = await untilAnswer(socketPath, () => undefined)
  if (reason) throw new EngineSetupError(`The service docker runs, but its Engine does not answer at ${socketPath}: ${reason}. See journalctl -u docker.`)
  return { socketPath, stop: async () => void (await run('systemctl', ['stop', 'docker.socket', 'docker.service'])) }
}

async function startDaemon({ log, logFile, socketPath }) {
  forgetDeadDaemon()
  mkdirSync(dirname(logFile), { recursive: true })
  const parameters = [...storageArguments('/var/lib/docker'), ...mtuArguments(), '-H', `unix://${socketPath}`]
  log(`$ dockerd ${parameters.join(' ')}   (log: ${logFile})`)
  const daemon = spawnDaemon('dockerd', parameters, { logFile })
  const reason = await untilAnswer(socketPath, () => daemon.ended)
  if (reason) throw new EngineSetupError(`dockerd was started but does not answer: ${reason}. The end of ${logFile}:\n${tail(readIfThere(logFile))}`)
  return { socketPath, stop: daemon.stop }
}

/** Starts a program that outlives this process; its output goes to a file. */
export function spawnDaemon(program, parameters, { logFile, env = process.env, cwd } = {}) {
  const descriptor = openSync(logFile, 'a')
  const child = spawn(program, parameters, { detached: true, stdio: ['ignore', descriptor, descriptor], env, cwd })
  closeSync(descriptor)
  child.unref()
  const daemon = { pid: child.pid, ended: undefined, stop: () => stopChild(child, daemon) }
  child.once('error', (error) => (daemon.ended = error.message))
  child.once('exit', (code, signal) => (daemon.ended ??= `it ended with ${signal ?? code}`))
  return daemon
}

async function stopChild(child, daemon) {
  if (daemon.ended) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.ref()
  child.kill('SIGTERM')
  await ended
}

/** dockerd does not start while a pid file names a living process, even if that is another program by now. */
function forgetDeadDaemon() {
  const pid = Number(readIfThere(PID_FILE))
  if (pid > 0 && !readIfThere(`/proc/${pid}/cmdline`).includes('dockerd')) rmSync(PID_FILE, { force: true })
}

/** Waits for a ping to be answered. Resolves to the reason if that never happens. */
export async function untilAnswer(socketPath, whyEnded, deadlineMs = START_DEADLINE_MS) {
  const deadline = Date.now() + deadlineMs
  for (;;) {
    const ended = whyEnded()
    const reason = await whyNoAnswer(socketPath)
    if (!reason) return undefined
    if (ended) return ended
    if (Date.now() > deadline) return reason
    await delay(50)
  }
}

function existingAncestor(path) {
  return existsSync(path) ? path : existingAncestor(dirname(path))
}
