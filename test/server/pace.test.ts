import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPace } from '#server/queue/pace.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** A pace whose work costs so much, and takes until it is let go. */
function create(cost: number) {
  const starts: number[] = []
  const ends: (() => void)[] = []
  const pace = createPace(() => {
    starts.push(performance.now())
    return new Promise((resolve) => ends.push(() => resolve(cost)))
  })
  const end = async () => {
    ends.shift()?.()
    await vi.advanceTimersByTimeAsync(0)
  }
  return { pace, starts, end }
}

describe('pace', () => {
  it('does at once what is asked for after a rest, once for all who ask', async () => {
    const { pace, starts } = create(10)
    for (let count = 0; count < 5; count += 1) pace.soon()
    pace.later()
    await vi.advanceTimersByTimeAsync(0)
    expect(starts).toHaveLength(1)
  })

  it('never does it twice at once, and again for who asks meanwhile', async () => {
    const { pace, starts, end } = create(0)
    pace.soon()
    await vi.advanceTimersByTimeAsync(0)
    pace.soon()
    await vi.advanceTimersByTimeAsync(1000)
    expect(starts).toHaveLength(1)
    await end()
    await vi.advanceTimersByTimeAsync(0)
    expect(starts).toHaveLength(2)
  })

  it.each([['soon', 30], ['later', 190]] as const)('rests when it is asked for %s, by what it cost and not by how long it waited', async (how, restMs) => {
    const { pace, starts, end } = create(10)
    pace.soon()
    await vi.advanceTimersByTimeAsync(5000)
    await end()
    const ended = performance.now()
    pace[how]()
    await vi.advanceTimersByTimeAsync(restMs - 1)
    expect(starts).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(2)
    expect(starts).toHaveLength(2)
    expect((starts[1] ?? 0) - ended).toBeGreaterThanOrEqual(restMs)
  })

  it('does not let who is in a hurry wait for who is not', async () => {
    const { pace, starts, end } = create(10)
    pace.soon()
    await vi.advanceTimersByTimeAsync(0)
    await end()
    pace.later()
    pace.soon()
    pace.later()
    await vi.advanceTimersByTimeAsync(31)
    expect(starts).toHaveLength(2)
  })

  it('does nothing any more when it is closed', async () => {
    const { pace, starts } = create(0)
    pace.soon()
    pace.close()
    pace.soon()
    await vi.advanceTimersByTimeAsync(1000)
    expect(starts).toEqual([])
  })
})
