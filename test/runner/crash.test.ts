import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TaskOrder } from '#core/api/schemas.ts'
import type { ImageDetails } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { taskContainerName } from '#core/paths.ts'
import { freePort } from '#simulator/free-port.ts'
import { createRandom } from '#simulator/random.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

/** As in `processes-crash.test.ts`: Nomad's crash test runs for five minutes (HAKURIVER_CRASH_SECONDS=300) at its own pace (HAKURIVER_CRASH_PACE=1). */
const SECONDS = Number(process.env['HAKURIVER_CRASH_SECONDS'] ?? 15)
const PACE = Number(process.env['HAKURIVER_CRASH_PACE'] ?? 0.3)
const SEED = Number(process.env['HAKURIVER_CRASH_SEED'] ?? Date.now() % 1_000_000)
const MOST = 8

/** Notes its start, and prints numbers until it finds the file. */
const COUNT = 'echo start >> "/shared/$0.starts"; i=0; while [ ! -e "/shared/$0" ]; do echo $i; echo e$i >&2; i=$((i+1)); usleep 10000; done; echo end; exit 7'

describe.skipIf(engineMissing !== undefined)('a Runner that crashes while containers run', () => {
  const engine = testEngine()
  let image: ImageDetails
  let host: StubHost
  let workspace: Workspace
  let runner: RunnerProcess
  let port: number

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    workspace = await createWorkspace(engine)
    host = await startStubHost()
    port = await freePort()
    runner = await startRunner(workspace, host, { port })
  })
  afterAll(async () => {
    await runner?.stop()
    await host?.stop()
    await workspace?.remove()
  })

  async function crash(waitForStart: boolean): Promise<void> {
    await runner.kill()
    runner = await startRunner(workspace, host, { port, waitForStart })
  }

  async function begin(change: Partial<TaskOrder> = {}): Promise<TaskOrder> {
    const id = change.id ?? createId()
    const order = createOrder(image.id, ['sh', '-c', COUNT, id], { id, ...change })
    await runner.put(order)
    return order
  }

  async function finish({ id }: TaskOrder): Promise<void> {
    await host.until(`the start of ${id}`, () => host.reports.some((report) => report.id === id && report.state === 'running'))
    await writeFile(join(workspace.paths.data, id), '')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 7, message: 'The command ended with exit code 7.' })
    expect(await readFile(join(workspace.paths.data, `${id}.starts`), 'utf8')).toBe('start\n')
    const lines = (await workspace.stdout(id)).trimEnd().split('\n')
    expect(lines).toEqual([...lines.slice(0, -1).map((_, index) => String(index)), 'end'])
    expect((await workspace.stderr(id)).trimEnd().split('\n')).toEqual(lines.slice(0, -1).map((_, index) => `e${index}`))
  }

  it('keeps the container, starts nothing twice, and learns the true end and every byte', async () => {
    const [order, item] = [await begin(), await begin({ id: `${createId()}.1`, pack: createId() })]
    await Promise.all([order, item].map(({ id }) => host.untilState(id, 'running')))
    const before = await engine.inspectContainer(taskContainerName(order.id, 1))
    for (let count = 0; count < 10; count++) await crash(true)
    const after = await engine.inspectContainer(taskContainerName(order.id, 1))
    expect([after?.id, after?.pid, after?.restartCount]).toEqual([before?.id, before?.pid, 0])
    await finish(order)
    await finish(item)
    for (const { id } of [order, item]) expect(host.reports.filter((report) => report.id === id && report.state === 'killed')).toEqual([])
  }, 120_000)

  it(`at random moments, for ${SECONDS} s (seed ${SEED})`, async () => {
    const random = createRandom(SEED)
    const pack = createId()
    const deadline = Date.now() + SECONDS * 1000
    const all: TaskOrder[] = []
    const more = async () => void all.push(await begin(all.length % 2 === 0 ? {} : { id: `${createId()}.1`, pack }))
    await more()
    while (Date.now() < deadline) {
      // From before the first words of a start to long after it.
      await setTimeout((1500 + random.below(6000)) * PACE * random.next())
      const hasStarted = random.next() < 0.6
      await crash(hasStarted)
      if (hasStarted && all.length < MOST) await more()
    }
    await crash(true)
    expect(all.length).toBeGreaterThan(0)
    for (const order of all) await finish(order)
  }, (SECONDS + 180) * 1000)
})
