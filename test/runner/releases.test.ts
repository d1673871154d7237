import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { executionKey } from '#core/tasks/execution-key.ts'
import { createReleases } from '#runner/executors/releases.ts'
import type { TaskRecord } from '#runner/state/state.ts'
import { createRecord } from './support/records.ts'

const HOUR_MS = 3600 * 1000

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] }))
afterEach(() => void vi.useRealTimers())

/** Of a Runner that remembers these. */
function setUp(known: readonly TaskRecord[]) {
  const records = new Map(known.map((record) => [executionKey(record.order), record]))
  const closing = new AbortController()
  const releases = createReleases({
    state: { list: () => [...records.values()], saveSoon: () => undefined, remove: (execution) => void records.delete(executionKey(execution)) },
    closing: closing.signal,
    executorOf: () => ({ remove: () => Promise.resolve() }),
    onRemoved: () => Promise.resolve(),
    track: () => undefined,
  })
  return { releases, records, closing }
}

const releasedBefore = (ms: number): TaskRecord => ({ ...createRecord('succeeded'), released: new Date(Date.now() - ms).toISOString() })

it('executions that have ended are remembered for a day', () => {
  const [old, young, active] = [releasedBefore(25 * HOUR_MS), releasedBefore(2 * HOUR_MS), createRecord()]
  const { releases, records, closing } = setUp([young, active, old])
  releases.forgetOld()
  expect([...records.values()]).toEqual([young, active])
  vi.advanceTimersByTime(21 * HOUR_MS)
  expect([...records.values()]).toEqual([young, active])
  vi.advanceTimersByTime(2 * HOUR_MS)
  expect([...records.values()]).toEqual([active])
  closing.abort()
  expect(vi.getTimerCount()).toBe(0)
})

it('only the last 10,000 that have ended are remembered', async () => {
  const ended = Array.from({ length: 10_002 }, () => createRecord('succeeded'))
  const { releases, records } = setUp(ended)
  for (const record of ended) releases.release(record, { forget: false })
  await setImmediate()
  expect([...records.values()]).toEqual(ended.slice(2))
})
