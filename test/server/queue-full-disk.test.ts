import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { TaskRecord } from '#server/queue/task-record.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

/** The disk of the Host is full for a moment: what is told once is not lost. */

let host: QueueHost
beforeEach(async () => {
  vi.spyOn(console, 'error').mockReturnValue(undefined)
  host = await createQueueHost()
})
afterEach(async () => {
  await host.dispose()
  vi.restoreAllMocks()
})

/** Full from the first change that is meant on. */
function fillOn(isMeant: (task: TaskRecord) => boolean): void {
  const look = (task: TaskRecord) => {
    if (!isMeant(task)) return
    host.disk.isFull = true
    host.store.changes.off('change', look)
  }
  host.store.changes.on('change', look)
}

describe('a disk that is full for a moment', () => {
  it.each([[0, 'lost'], [1, 'queued']] as const)('when a node becomes silent: its task with %i retries is %s afterwards', async (retries, state) => {
    await host.register('a')
    const id = await host.submitOne({ retries })
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    host.disk.isFull = true
    host.silence('a')
    await host.refusedOnce()
    expect(await host.reached(id, state)).toMatchObject({ wish: 'run' })
  })

  it('when a node is removed: its task is lost for good', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    host.silence('a')
    await host.reached(id, 'lost')
    host.disk.isFull = true
    await host.nodes.remove('a')
    await host.refusedOnce()
    await vi.waitUntil(() => !host.store.live.hasLost(id))
    expect(await host.tasks.get(id)).toMatchObject({ state: 'lost', reason: 'node_removed' })
  })

  it('when the last item of a batch has ended: the batch ends', async () => {
    await host.register('a')
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1' } })
    fillOn(({ index, state }) => index === 1 && state === 'succeeded')
    await host.finish(`${batch}.1`)
    await host.refusedOnce()
    expect(await host.ended(batch)).toMatchObject({ state: 'succeeded', items: { counts: { succeeded: 1 } } })
  })

  it('when a dependency can not come true any more: what waits for it fails', async () => {
    await host.register('a')
    const first = await host.submitOne()
    const second = await host.submitOne({ after: [{ on: 'ok', task: first }] })
    fillOn(({ id, state }) => id === first && state === 'failed')
    await host.finish(first, 'failed')
    await host.refusedOnce()
    expect(await host.ended(second)).toMatchObject({ state: 'failed', reason: 'dependency' })
  })
})

describe('a batch whose kill is cut off between it and its items', () => {
  async function killInParts(): Promise<{ batch: string; killing: Promise<unknown> }> {
    await host.register('a', { cores: 3 })
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-9' } })
    for (const index of [1, 2, 3]) {
      await host.node.ordered(`${batch}.${index}`)
      await host.report(`${batch}.${index}`, { state: 'running' })
    }
    fillOn(({ id, wish }) => id === batch && wish === 'kill')
    return { batch, killing: host.tasks.kill(batch) }
  }

  it('is killed whole once there is room', async () => {
    const { batch, killing } = await killInParts()
    await host.refusedOnce()
    await killing
    for (const index of [1, 2, 3]) expect((await host.tasks.get(`${batch}.${index}`)).wish).toBe('kill')
  })

  it('is killed whole by the next Host', async () => {
    const { batch, killing } = await killInParts()
    await vi.waitUntil(() => host.disk.refused > 0)
    await host.restart()
    await killing
    await host.refusedOnce()
    for (const index of [1, 2, 3]) {
      await host.node.killed(`${batch}.${index}`)
      expect((await host.tasks.get(`${batch}.${index}`)).wish).toBe('kill')
    }
  })

  it('leaves an item alone that was retried since', async () => {
    await host.register('a', { cores: 1 })
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-2' } })
    await host.node.ordered(`${batch}.1`)
    await host.report(`${batch}.1`, { state: 'running' })
    await host.tasks.kill(batch)
    await host.tasks.retry(`${batch}.2`)
    expect(await host.tasks.get(batch)).toMatchObject({ state: 'running', wish: 'run' })
    await host.restart()
    await host.settled()
    expect(await host.tasks.get(`${batch}.2`)).toMatchObject({ state: 'queued', wish: 'run' })
  })
})
