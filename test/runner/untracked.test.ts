import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ContainerSpec, ImageDetails } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { labels, taskContainerName } from '#core/paths.ts'
import { removeOrphans } from '#runner/executors/docker/orphans.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { type Faults, withFaults } from '../support/faulty-engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { createLocalTasks, type LocalTasks } from './support/local-tasks.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

describe.skipIf(engineMissing !== undefined)('containers that an Engine has made although it said otherwise', () => {
  const engine = testEngine()
  let image: ImageDetails
  let workspace: Workspace
  let faults: Faults
  let tasks: LocalTasks

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
  })
  beforeEach(async () => {
    workspace = await createWorkspace(engine)
    faults = {}
    tasks = await createLocalTasks(withFaults(engine, faults), workspace)
  })
  afterEach(async () => {
    await tasks.close()
    await workspace.remove()
  })

  /** The first call of this kind fails so, although it was done. */
  function failOnce(method: 'createContainer' | 'startContainer', error: HakuError): void {
    let calls = 0
    Object.assign(faults, { failAfter: method, error })
    faults.before = (called) => {
      if (called === method) calls++
      else if (calls > 0) faults.failAfter = undefined
    }
  }

  const count = async (id: string) => (await engine.listContainers({ [labels.task]: id })).length

  it.each(['createContainer', 'startContainer'] as const)('are adopted when the answer to %s was lost', async (method) => {
    failOnce(method, new HakuError('engine.unavailable', 'The answer was lost.'))
    const order = createOrder(image.id, ['sh', '-c', 'echo once; exit 7'])
    await tasks.accept(order)
    expect(await tasks.untilFinal(order.id)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 7 })
    expect(await workspace.stdout(order.id)).toBe('once\n')
    expect(await count(order.id)).toBe(1)
  })

  it.each(['createContainer', 'startContainer'] as const)('are removed when %s failed for good', async (method) => {
    failOnce(method, new HakuError('engine.failed', 'The Engine has a bad day.'))
    const order = createOrder(image.id, ['sleep', '600'])
    await tasks.accept(order)
    const report = await tasks.untilFinal(order.id)
    expect(report).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringContaining('bad day') })
    // Already: a task that has failed must not run.
    expect(await count(order.id)).toBe(0)
  })

  it('are left alone when they are of somebody else', async () => {
    const order = createOrder(image.id, ['true'])
    const spec: ContainerSpec = { name: taskContainerName(order.id, 1), image: image.id, command: ['sleep', '600'], env: {}, labels: { [labels.task]: order.id }, mounts: [], logs: 'none' }
    const foreign = await engine.createContainer(spec)
    try {
      await tasks.accept(order)
      const report = await tasks.untilFinal(order.id)
      expect(report).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringContaining('not of this Runner') })
      tasks.acknowledge([report])
      await expect.poll(() => tasks.state.find(order)?.released).not.toBeNull()
      expect(await engine.inspectContainer(foreign)).toBeDefined()
    } finally {
      await engine.removeContainer(foreign)
    }
  })

  it('are found by the sweep, whatever instance they are of', async () => {
    const known = createOrder(image.id, ['sleep', '600'], { instance: 2 })
    await tasks.accept(known)
    await expect.poll(() => tasks.state.find(known)?.report.state).toBe('running')
    const create = (task: string, instance: string, node = workspace.hostname) =>
      engine.createContainer({ name: `test-untracked-${createId()}`, image: image.id, command: ['sleep', '600'], env: {}, labels: { [labels.task]: task, [labels.instance]: instance, [labels.node]: node }, mounts: [], logs: 'none' })
    const foreign = await create(known.id, '1', `${workspace.hostname}-other`)
    try {
      await create(known.id, '1')
      await create(createId(), '1')
      expect(await removeOrphans({ engine, state: tasks.state, hostname: workspace.hostname })).toHaveLength(2)
      expect(await engine.inspectContainer(foreign)).toBeDefined()
      expect(await engine.listContainers({ [labels.node]: workspace.hostname })).toMatchObject([{ labels: { [labels.instance]: '2' } }])
    } finally {
      await engine.removeContainer(foreign)
    }
  })
})
