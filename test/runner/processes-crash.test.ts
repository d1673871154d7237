import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { processDirectory, processPaths, runnerStatePaths } from '#core/paths.ts'
import { readJson, type StartedProcess } from '#runner/keeping/files.ts'
import { freePort } from '#simulator/free-port.ts'
import { createRandom } from '#simulator/random.ts'
import { machineCgroups, removeCgroups } from './support/plain-node.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

/** Nomad's crash test runs for five minutes: HAKURIVER_CRASH_SECONDS=300. */
const SECONDS = Number(process.env['HAKURIVER_CRASH_SECONDS'] ?? 12)
/** Faster here, so that a few seconds have some: HAKURIVER_CRASH_PACE=1 is Nomad's own. */
const PACE = Number(process.env['HAKURIVER_CRASH_PACE'] ?? 0.2)
/** Processes at a time: they count, and that takes the CPU. */
const MOST = 12
const SEED = Number(process.env['HAKURIVER_CRASH_SEED'] ?? Date.now() % 1_000_000)

/** Notes its start, and prints numbers until it finds the file. */
const COUNT = 'echo $$ >> "$0.starts"; i=0; while [ ! -e "$0" ]; do echo $i; i=$((i+1)); sleep 0.001; done; echo end; exit 7'

describe('a Runner that crashes while a plain process runs', () => {
  let host: StubHost
  let workspace: Workspace
  let runner: RunnerProcess
  let port: number

  beforeAll(async () => {
    process.env['HAKURIVER_RUNNER_PLAIN_PROCESSES'] = 'true'
    // No Engine is needed for a plain process.
    workspace = await createWorkspace({ listContainers: () => Promise.resolve([]), removeContainer: () => Promise.resolve() })
    host = await startStubHost()
    port = await freePort()
    runner = await startRunner(workspace, host, { port, engine: join(workspace.root, 'no-engine.sock') })
  })
  afterAll(async () => {
    delete process.env['HAKURIVER_RUNNER_PLAIN_PROCESSES']
    await runner?.stop()
    await host?.stop()
    await removeCgroups(machineCgroups(workspace.hostname), workspace.hostname)
    await workspace?.remove()
  })

  const crash = async (waitForStart: boolean) => {
    await runner.kill()
    runner = await startRunner(workspace, host, { port, engine: join(workspace.root, 'no-engine.sock'), waitForStart })
  }
  const begin = async () => {
    const stopFile = join(workspace.root, `stop-${Math.random()}`)
    const order = createOrder('', ['sh', '-c', COUNT, stopFile], { image: null })
    await runner.put(order)
    return { order, stopFile, paths: processPaths(processDirectory(runnerStatePaths(workspace.stateDir).processes, order.id, 1)) }
  }
  const numbers = (lines: string[]) => lines.map((_, index) => String(index))

  it('starts it once, keeps it, and learns its true end and every byte', async () => {
    const { order, stopFile, paths } = await begin()
    await host.untilState(order.id, 'running')
    const started = readJson<StartedProcess>(paths.started)
    for (let count = 0; count < 10; count++) await crash(true)
    expect(readJson(paths.started)).toEqual(started)
    expect(readFileSync(`${stopFile}.starts`, 'utf8')).toBe(`${started?.pid}\n`)
    await writeFile(stopFile, '')
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 7 })
    const lines = (await workspace.stdout(order.id)).trimEnd().split('\n')
    expect(lines).toEqual([...numbers(lines.slice(0, -1)), 'end'])
    expect(new Set(host.reports.filter(({ id }) => id === order.id).map(({ state }) => state))).toEqual(new Set(['starting', 'running', 'failed']))
  })

  it(`at random moments, for ${SECONDS} s (seed ${SEED})`, async () => {
    const random = createRandom(SEED)
    const deadline = Date.now() + SECONDS * 1000
    const all = [await begin()]
    while (Date.now() < deadline) {
      // From before the first words of a start to long after it.
      await setTimeout((1500 + random.below(6000)) * PACE * random.next())
      const hasStarted = random.next() < 0.6
      await crash(hasStarted)
      // The next crash comes at any moment of its start.
      if (hasStarted && all.length < MOST) all.push(await begin())
    }
    await crash(true)
    for (const { order, stopFile, paths } of all) {
      await host.until(`the start of ${order.id}`, () => existsSync(paths.started))
      await writeFile(stopFile, '')
      expect(await host.untilFinal(order.id)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 7 })
      expect(readFileSync(`${stopFile}.starts`, 'utf8')).toMatch(/^\d+\n$/)
      const lines = (await workspace.stdout(order.id)).trimEnd().split('\n')
      expect(lines).toEqual([...numbers(lines.slice(0, -1)), 'end'])
    }
  }, (SECONDS + 120) * 1000)
})
