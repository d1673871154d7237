import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { submitBody, type SubmitInput } from '#core/api/schemas.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost()
  await host.register('a')
})
afterEach(() => host.dispose())

const preview = async (body: Partial<SubmitInput> = {}) => (await host.tasks.preview(submitBody.parse({ command: ['true'], environment: 'my-env', ...body }))).tasks
const waits = (place: number, message: string) => ({ place, node: null, message: expect.stringContaining(message) as unknown })

describe('a preview', () => {
  it('says that a task with nothing in its way starts at once', async () => {
    expect(await preview()).toMatchObject([{ node: 'a', place: 0, message: null }])
    expect(await preview({ at: '2020-01-01T00:00:00Z' })).toMatchObject([{ place: 0 }])
  })

  it('knows that it is to be held, and until when it waits', async () => {
    const at = '2099-01-01T00:00:00.000Z'
    expect(await preview({ hold: true })).toMatchObject([waits(1, 'It is held.')])
    expect(await preview({ at })).toMatchObject([waits(1, `It starts at ${at}, or later.`)])
  })

  it('knows what it would wait for of other tasks', async () => {
    const held = await host.submitOne({ hold: true })
    const over = await host.submitOne()
    await host.finish(over)
    const after = (on: 'ok' | 'fail' | 'any', task: string) => preview({ after: [{ on, task }] })
    expect(await after('ok', held)).toMatchObject([waits(2, `Waits for the task ${held} to succeed; it is queued.`)])
    expect(await after('ok', over)).toMatchObject([{ place: 0, message: null }])
    expect(await after('fail', over)).toMatchObject([waits(2, `once the task ${over} would fail, and that one ended: succeeded.`)])
  })

  it('counts only what goes ahead: what is as urgent, or more', async () => {
    await host.submitOne({ hold: true, priority: 5 })
    await host.submitOne({ hold: true })
    await host.submitOne({ hold: true, priority: -5 })
    expect(await preview({ hold: true })).toMatchObject([{ place: 3 }])
    expect(await preview({ hold: true, priority: 5 })).toMatchObject([{ place: 2 }])
    expect(await preview({ hold: true, priority: -6 })).toMatchObject([{ place: 4 }])
  })

  it('has a row for each target, as many at once as may run, and of items the first alone', async () => {
    expect(await preview({ targets: ['a', 'a', 'a'], parallel: 2 })).toMatchObject([{ node: 'a', place: 0 }, { node: 'a', place: 0 }, { node: 'a', place: 3, message: '2 of the batch run at a time, and so many do.' }])
    expect(await preview({ items: { kind: 'array', indexes: '1-100' } })).toMatchObject([{ node: 'a', place: 0 }])
    expect((await host.tasks.list({ limit: 10, level: 'all' })).items).toEqual([])
  })
})
