import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { reportsBody, taskReport } from '#core/api/schemas.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

const HOUR_MS = 3_600_000

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost()
})
afterEach(async () => {
  vi.useRealTimers()
  await host.dispose()
})

/** A time of a node whose clock is so much ahead. */
const at = (ms: number, aheadMs = 0) => new Date(ms + aheadMs).toISOString()

describe('the times of an execution', () => {
  const RAN_MS = 60_000
  let id: string
  let assigned: number

  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    await host.register('a')
    id = await host.submitOne({ timeLimitSeconds: 3600 })
    await host.node.ordered(id)
    assigned = Date.now()
  })

  /** What the Host stores, and the milliseconds of it. */
  async function times(): Promise<{ started: number; finished: number; ranMs: number }> {
    const task = await host.tasks.get(id)
    const [started, finished] = [Date.parse(task.started ?? ''), Date.parse(task.finished ?? '')]
    return { started, finished, ranMs: finished - started }
  }

  it.each([['right', 0], ['ahead', HOUR_MS], ['behind', -HOUR_MS], ['at the beginning of time', -Date.parse('2026-01-01')]])('are of the clock of the Host where that of the node is %s', async (_, aheadMs) => {
    vi.setSystemTime(assigned + 1000)
    await host.report(id, { state: 'running', started: at(assigned + 1000, aheadMs) })
    const endsBy = host.store.live.reservations.on('a').map((placed) => placed.endsBy)
    expect(endsBy[0]).toBeGreaterThanOrEqual(assigned + HOUR_MS)
    expect(endsBy[0]).toBeLessThanOrEqual(assigned + 1000 + HOUR_MS)
    vi.setSystemTime(assigned + 1000 + RAN_MS)
    await host.report(id, { state: 'succeeded', exitCode: 0, started: at(assigned + 1000, aheadMs), finished: at(assigned + 1000 + RAN_MS, aheadMs) })
    const { started, finished, ranMs } = await times()
    expect(ranMs).toBe(RAN_MS)
    expect([started >= assigned, finished <= Date.now()]).toEqual([true, true])
  })

  it.each([['right', 0], ['ahead', HOUR_MS], ['behind', -HOUR_MS]])('are so in a report of the end alone, which may be late, where the clock of the node is %s', async (_, aheadMs) => {
    vi.setSystemTime(assigned + 10 * RAN_MS)
    await host.report(id, { state: 'succeeded', exitCode: 0, started: at(assigned + 1000, aheadMs), finished: at(assigned + 1000 + RAN_MS, aheadMs) })
    const { started, finished, ranMs } = await times()
    expect(ranMs).toBe(RAN_MS)
    expect([started >= assigned, finished <= Date.now()]).toEqual([true, true])
  })

  it('never end before they begin', async () => {
    await host.report(id, { state: 'succeeded', exitCode: 0, started: '1999-01-01T00:00:00Z', finished: '1998-01-01T00:00:00Z' })
    expect(await times()).toMatchObject({ ranMs: 0 })
  })

  it('of one that did not start are an end alone', async () => {
    await host.report(id, { state: 'failed', reason: 'sync_failed', finished: at(assigned, HOUR_MS) })
    expect(await host.tasks.get(id)).toMatchObject({ started: null, finished: at(Date.now()) })
  })
})

describe('a report', () => {
  const report = { id: '0'.repeat(26), instance: 1, sequence: 1, state: 'running', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null }

  it.each(['queued', 'lost'])('can not say that a task is %s', (state) => {
    expect(taskReport.safeParse({ ...report, state }).error?.issues).toMatchObject([{ path: ['state'] }])
  })

  it('is rather cut than refused for what it says to people', () => {
    const { reports } = reportsBody.parse({ instanceId: 'i', reports: [{ ...report, message: 'x'.repeat(129_000), damage: 'x'.repeat(4096) }, { ...report, message: 'half \ud800' }] })
    expect(reports[0]?.message).toBe(`${'x'.repeat(4095)}…`)
    expect(reports[0]?.damage).toHaveLength(4096)
    expect(reports[1]?.message).toBe('half \ufffd')
  })

  it('of a node that was silent brings it back with its tasks', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    host.silence('a')
    await host.ended(id)
    await host.report(id, { state: 'running' })
    expect(host.nodes.get('a').online).toBe(true)
    expect(await host.tasks.get(id)).toMatchObject({ state: 'running', reason: null })
    host.silence('a')
    expect(await host.ended(id)).toMatchObject({ state: 'lost', reason: 'node_unreachable' })
  })
})
