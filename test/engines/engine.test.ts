import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { errorMessage } from '#core/errors.ts'
import { askEngine } from '../../build/engine-api.mjs'
import { ensureBusybox } from '#test/support/images.ts'
import { startTestEngine, type TestEngine, whyNoEngines } from './engine.ts'
import { createBridge, removeBridge } from './bridges.ts'
import { DIRECTORY_PREFIX, removeAbandoned } from './leftovers.ts'
import { findMissingReleases, type Release, releases } from './releases.ts'

const missing = whyNoEngines()
if (missing) console.log(`Engines of the tests' own are skipped: ${missing}`)

const absent = missing ? new Map<Release, string>() : await findMissingReleases()
for (const [release, reason] of absent) console.log(`the Engine ${release} is skipped: ${reason}`)

describe.skipIf(missing)('test Engines', () => {
  const engines: TestEngine[] = []
  afterAll(async () => void (await Promise.all(engines.map((engine) => engine.stop()))))

  it('of all releases run side by side, and leave nothing behind', async () => {
    const wanted = releases.filter((release) => !absent.has(release))
    engines.push(...(await Promise.all(wanted.map((release) => startTestEngine(release)))))
    const ended = await Promise.all(engines.map(runContainers))
    expect(ended).toMatchObject(wanted.map((release) => ({ exitCode: 7, running: 1, version: VERSIONS[release], driver: DRIVERS[release] })))
    const bridges = engines.map(readBridge)
    expect(new Set(bridges).size).toBe(engines.length)

    await Promise.all(engines.map((engine) => engine.stop()))
    for (const engine of engines) expect(traces(dirname(engine.socketPath))).toEqual([])
    expect(bridges.filter((bridge) => hasTrace(bridge))).toEqual([])
  }, 180_000)

  it('one that can not start says why and leaves nothing', async () => {
    const path = process.env['PATH']
    const fake = mkdtempSync(join(tmpdir(), 'hakuriver-fake-'))
    writeFileSync(join(fake, 'dockerd'), '#!/bin/sh\necho "no graph driver for $*"\nexit 1\n', { mode: 0o755 })
    process.env['PATH'] = `${fake}:${path}`
    try {
      const failure = await startTestEngine().then(() => '', errorMessage)
      expect(failure).toMatch(/it ended with 1\nno graph driver for .*--data-root (?<directory>\S+)\/data .*--bridge hre\d+/)
      expect(traces(/--data-root (?<directory>\S+)\/data/.exec(failure)?.[1] ?? '')).toEqual([])
      expect(hasTrace(/--bridge (?<bridge>\S+)/.exec(failure)?.[1] ?? '')).toBe(false)
    } finally {
      process.env['PATH'] = path
      rmSync(fake, { recursive: true })
    }
  })

  it('of a process that was killed are removed later', () => {
    const directory = mkdtempSync(join(tmpdir(), DIRECTORY_PREFIX))
    const bridge = createBridge()
    try {
      writeFileSync(join(directory, 'owner.json'), JSON.stringify({ pid: process.pid, started: 'long ago', bridge }))
      removeAbandoned()
      expect(existsSync(directory)).toBe(false)
      expect(hasTrace(bridge.name)).toBe(false)
    } finally {
      removeBridge(bridge)
    }
  })
})

// --- internal ---

const GRAPH_DRIVER = expect.stringMatching(/^(?:overlay2|vfs)$/) as string
const DRIVERS: Record<Release, string> = { installed: GRAPH_DRIVER, 26: GRAPH_DRIVER, 28: GRAPH_DRIVER, '28-containerd': 'overlayfs' }
const VERSIONS: Record<Release, string> = { installed: expect.any(String) as string, 26: expect.stringMatching(/^26\./) as string, 28: expect.stringMatching(/^28\./) as string, '28-containerd': expect.stringMatching(/^28\./) as string }


/** One container that ends with 7, and one that goes on. */
async function runContainers({ socketPath }: TestEngine) {
  const image = await ensureBusybox(socketPath)
  const start = async (command: string[]) => {
    const { Id } = (await askEngine(socketPath, 'POST', '/containers/create', { body: { Image: image, Cmd: command } })) as { Id: string }
    await askEngine(socketPath, 'POST', `/containers/${Id}/start`)
    return Id
  }
  await start(['sleep', '1000'])
  const { StatusCode } = (await askEngine(socketPath, 'POST', `/containers/${await start(['sh', '-c', 'ip route | grep -q default && exit 7'])}/wait`)) as { StatusCode: number }
  const { ServerVersion: version, Driver: driver, ContainersRunning: running } = (await askEngine(socketPath, 'GET', '/info')) as { ServerVersion: string; Driver: string; ContainersRunning: number }
  return { exitCode: StatusCode, version, driver, running }
}

function readBridge({ socketPath }: TestEngine): string {
  return (JSON.parse(readFileSync(join(dirname(socketPath), 'owner.json'), 'utf8')) as { bridge: { name: string } }).bridge.name
}

/** What of a stopped Engine is still here. */
function traces(directory: string): string[] {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(readCommand).filter((command) => command.includes(`${directory}/`))
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n').filter((line) => line.includes(`${directory}/`))
  return [...processes, ...mounts, ...(existsSync(directory) ? [directory] : [])]
}

function readCommand(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}

function hasTrace(bridge: string): boolean {
  const output = execFileSync('iptables-save', { encoding: 'utf8' }) + execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' })
  return new RegExp(`\\b${bridge}\\b`).test(output)
}
