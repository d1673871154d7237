import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { HakuError } from '#core/errors.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  vi.spyOn(console, 'error').mockReturnValue(undefined)
  host = await createQueueHost()
  await host.register('a')
})
afterEach(async () => {
  await host.dispose()
  vi.restoreAllMocks()
})

describe('an order', () => {
  it.each<[string, () => Promise<never>]>([
    ['that is none of the contract', () => Promise.resolve({} as never)],
    ['that is not read', () => Promise.reject(new SyntaxError('Unexpected token < in JSON'))],
    ['that the node is known no more', () => Promise.reject(new HakuError('node.not_found', 'There is no node a.'))],
  ])('is given again after an answer %s, but not at once', async (_, answer) => {
    const run = vi.spyOn(host.node.dispatcher, 'run').mockImplementation(answer)
    const id = await host.submitOne()
    await vi.waitUntil(() => run.mock.calls.length > 0)
    await host.settled()
    expect(run.mock.calls.length).toBeLessThan(5)
    run.mockRestore()
    await host.finish(id)
    expect(await host.ended(id)).toMatchObject({ state: 'succeeded', instance: 1 })
  })

  it('that its node refuses fails its task, though the disk of the Host is full at that moment', async () => {
    host.node.refuse = 'not here'
    const run = vi.spyOn(host.node.dispatcher, 'run')
    run.mockImplementationOnce(() => {
      host.disk.isFull = true
      return Promise.reject(new HakuError('request.invalid', 'not here'))
    })
    const id = await host.submitOne()
    await host.refusedOnce()
    expect(await host.ended(id)).toMatchObject({ state: 'failed', reason: 'node_refused', message: expect.stringContaining('not here') as unknown })
  })

  it('that would be too long for the kernel is not given, and its item fails for good', async () => {
    const run = vi.spyOn(host.node.dispatcher, 'run')
    const batch = await host.submitOne({ items: { kind: 'lines', lines: ['x'.repeat(70_000), 'short'] }, command: ['echo', '%{line}%{line}'], retries: 3 })
    expect(await host.ended(`${batch}.1`)).toMatchObject({ state: 'failed', reason: 'start_failed', instance: 1, message: 'With the variables of item 1 the command is too long. Word 2 of the command has 140,000 bytes, more than the kernel takes: 131,071 bytes for one word (128 KiB with the NUL behind it), 2 MiB in all. Put it into a file.' })
    await host.finish(`${batch}.2`)
    expect(run.mock.calls.map(([, order]) => order.id)).not.toContain(`${batch}.1`)
    expect(await host.ended(batch)).toMatchObject({ state: 'failed', items: { counts: { failed: 1, succeeded: 1 } } })
  })
})

describe('a kill', () => {
  it('that its node does not know is an end, though the disk of the Host is full at that moment', async () => {
    const id = await host.submitOne()
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    host.node.forget('a', host.node.known('a'))
    const kill = vi.spyOn(host.node.dispatcher, 'kill')
    kill.mockImplementationOnce(() => {
      host.disk.isFull = true
      return Promise.reject(new HakuError('task.not_found', 'no such task'))
    })
    await host.tasks.kill(id)
    await host.refusedOnce()
    expect(await host.ended(id)).toMatchObject({ state: 'lost', reason: 'node_forgot' })
  })
})
