// The Host and the Runner of the quickstart: their configuration, their start in the background, their end.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { spawnDaemon } from '../engine-setup.mjs'
import { readIfThere, tail } from '../files.mjs'

export const root = fileURLToPath(new URL('../..', import.meta.url))
export const directory = join(root, '.quickstart')
export const configFile = join(directory, 'config.toml')
export const sharedDir = join(directory, 'shared')
export const NODE_NAME = 'nodeA'

const stateDir = join(directory, 'state')
const START_DEADLINE_MS = 60_000
const STOP_DEADLINE_MS = 60_000

/** What goes wrong in a way that its user can understand; the message is all that is shown. */
export class QuickstartError extends Error {}

/** The configuration of an earlier run; `undefined` if there is none. */
export async function readConfig() {
  if (!existsSync(configFile)) return undefined
  const { parseTOML } = await import('confbox/toml')
  return toSettings(parseTOML(readFileSync(configFile, 'utf8')))
}

/** Writes the configuration, if it says anything else than the one that is there. Creates the directories that it names. */
export async function writeConfig({ socket, hostPort, runnerPort }) {
  for (const path of [join(sharedDir, 'shared_data'), stateDir]) mkdirSync(path, { recursive: true })
  const text = [
    '# Written by "npm run quickstart": a Host and a Runner on one machine.',
    '[network]', `host_port = ${hostPort}`, `runner_port = ${runnerPort}`, '',
    '[paths]', `shared_dir = ${JSON.stringify(sharedDir)}`, `state_dir = ${JSON.stringify(stateDir)}`, `local_temp_dir = ${JSON.stringify(join(directory, 'local_temp'))}`, '',
    '[docker]', `socket = ${JSON.stringify(socket)}`, '',
    '[runner]', `hostname = ${JSON.stringify(NODE_NAME)}`, '',
  ].join('\n')
  if (!existsSync(configFile) || readFileSync(configFile, 'utf8') !== text) writeFileSync(configFile, text)
}

/** A port that is free now: one of `wishes` if possible. */
export async function freePort(...wishes) {
  for (const wish of wishes) if (wish && (await isFree(wish))) return wish
  return isFree(0)
}

/** The environment of services and commands: nothing in it but the configuration file decides what they do. */
export function environment() {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('HAKURIVER_'))
  return { ...Object.fromEntries(own), HAKURIVER_CONFIG: configFile, PATH: `${join(root, 'dist/bin')}:${process.env.PATH}` }
}

/** Process id of a running service; `undefined` if it does not run. */
export function servicePid(service) {
  const pid = Number(readIfThere(pidFile(service)))
  return pid > 0 && isService(pid, service) ? pid : undefined
}

/** Starts a service in the background. Resolves once `isReady()` does to true. @throws QuickstartError with the end of its log */
export async function startService(service, isReady) {
  const parameters = ['--config', configFile]
  const daemon = spawnDaemon(join(root, 'dist/bin', `hakuriver.${service}`), parameters, { logFile: logFile(service), env: environment(), cwd: directory })
  if (daemon.pid) writeFileSync(pidFile(service), `${daemon.pid}\n`)
  const deadline = Date.now() + START_DEADLINE_MS
  while (!(await isReady())) {
    const failure = daemon.ended ?? (Date.now() > deadline ? `it is not ready after ${START_DEADLINE_MS / 1000} s` : undefined)
    if (failure) throw new QuickstartError(`hakuriver.${service} did not start: ${failure}. The end of ${logFile(service)}:\n${tail(readIfThere(logFile(service)))}`)
    await delay(50)
  }
  return daemon.pid
}

/** SIGTERM, and waits. Resolves to a sentence on what happened. @throws QuickstartError if it does not end */
export async function stopService(service) {
  const pid = servicePid(service)
  if (!pid) return `hakuriver.${service} does not run`
  process.kill(pid, 'SIGTERM')
  const deadline = Date.now() + STOP_DEADLINE_MS
  while (isService(pid, service)) {
    if (Date.now() > deadline) throw new QuickstartError(`hakuriver.${service} (process ${pid}) does not end. Its log is ${logFile(service)}.`)
    await delay(50)
  }
  rmSync(pidFile(service), { force: true })
  return `hakuriver.${service} (process ${pid}) has stopped`
}

/** Whether the Host answers. */
export async function isHostReady({ hostPort }) {
  return (await askHost(hostPort, '/api/health')) !== undefined
}

/** Whether the node of the quickstart is online. */
export async function isNodeOnline({ hostPort }) {
  const node = await askHost(hostPort, `/api/nodes/${NODE_NAME}`)
  return node?.state === 'online'
}

export function logFile(service) {
  return join(directory, `${service}.log`)
}

// --- internal ---

function toSettings(config) {
  return { socket: config.docker?.socket, hostPort: config.network?.host_port, runnerPort: config.network?.runner_port }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen(port, '127.0.0.1', () => {
      const found = server.address().port
      server.close(() => resolve(found))
    })
  })
}

async function askHost(port, path) {
  try {
    const token = readIfThere(join(stateDir, 'admin.token')).trim()
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: token ? { authorization: `Bearer ${token}` } : {}, signal: AbortSignal.timeout(5000) })
    return answer.ok ? await answer.json() : undefined
  } catch {
    // It does not listen yet: the caller asks again, and has the deadline.
    return undefined
  }
}

/** A pid file may have outlived its process, and the number may be another's by now. */
function isService(pid, service) {
  const command = readIfThere(`/proc/${pid}/cmdline`).split('\0')
  return command.includes(configFile) && command.some((word) => word.endsWith(`/hakuriver.${service}`))
}

function pidFile(service) {
  return join(directory, `${service}.pid`)
}
