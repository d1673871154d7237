import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDockerEngine } from '#core/engine/docker.ts'
import type { Engine } from '#core/engine/engine.ts'
import { startTestEngine, type TestEngine, whyNoEngines } from '../engines/engine.ts'
import { startAnchor } from '../engines/anchor.ts'
import { ensureBusybox } from '../support/images.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

const missing = whyNoEngines()
if (missing) console.log(`restarts of an Engine in the middle of a start are not tested: ${missing}`)

/** The Engine is restarted until it has forgotten a start: it does so at about every second time. */
const MOST_RESTARTS = 30
const AT_ONCE = 6

describe.skipIf(missing)('an Engine that is restarted in the middle of starts', () => {
  let own: TestEngine
  let engine: Engine
  let host: StubHost
  let workspace: Workspace
  let runner: RunnerProcess
  let image: string

  beforeAll(async () => {
    own = await startTestEngine()
    engine = createDockerEngine({ socketPath: own.socketPath })
    image = (await engine.inspectImage(await ensureBusybox(own.socketPath)))?.id ?? ''
    await startAnchor(engine)
    host = await startStubHost()
    workspace = await createWorkspace(engine)
    runner = await startRunner(workspace, host, { engine: own.socketPath })
  }, 120_000)
  afterAll(async () => {
    await runner?.stop()
    await workspace?.remove()
    await host?.stop()
    await own?.stop()
  }, 60_000)

  it('costs a task whose container it forgot nothing', async () => {
    const remade = () => [...runner.log().matchAll(/task (?<id>\S+): the Docker Engine was restarted while it started/g)].map(({ groups }) => groups?.['id'] ?? '')
    for (let restart = 0; restart < MOST_RESTARTS && remade().length === 0; restart += 1) {
      const orders = Array.from({ length: AT_ONCE }, () => createOrder(image, ['sh', '-c', 'echo start']))
      for (const order of orders) await runner.put(order)
      const first = orders[0]?.id
      await host.until('a start', () => host.reports.some(({ id, state }) => id === first && state === 'starting'))
      await own.restart()
      for (const { id } of orders) await host.untilFinal(id)
    }
    expect(remade()).not.toEqual([])
    for (const id of remade()) {
      expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded', exitCode: 0 })
      expect(await workspace.stdout(id)).toBe('start\n')
    }
  }, 180_000)
})
