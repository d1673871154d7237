import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { chainIds, missingLayers } from '#core/tarballs/chains.ts'
import { createBell } from '#runner/host/bell.ts'
import { planEviction, planSuperseded, totalBytes } from '#runner/sync/clean-up.ts'
import { createProgressMeter } from '#runner/sync/progress.ts'
import { createSync, withSignal } from '#runner/sync/sync.ts'
import { createRecord } from './support/records.ts'
import { createOrder, imageOf } from './support/workspace.ts'

describe('superseded images', () => {
  const image = (environment: string, version: number, imageId = `${environment}${version}`) => ({ environment, version, imageId, lastUsed: '', size: 0, layers: [], isAwaited: false })
  it('are older, of the same environment, and needed by no unfinished task', () => {
    const needed = { ...createRecord(), order: createOrder('', ['true'], { image: imageOf('a', 2) }) }
    const images = [image('a', 1), image('a', 2), image('a', 3), image('ab', 1), image('c', 1, 'same'), image('c', 2, 'same')]
    expect(planSuperseded(images, [needed])).toEqual([image('a', 1)])
    expect(planSuperseded(images, [])).toEqual([image('a', 1), image('a', 2)])
    expect(planSuperseded([{ ...image('a', 1), isAwaited: true }, image('a', 2)], [])).toEqual([])
  })
})

describe('images beyond the limit', () => {
  /** Used at `lastUsed`, with a base of 100 bytes that all share and `own` bytes above. */
  const image = (environment: string, lastUsed: string, own: number) => ({ environment, version: 1, imageId: environment, lastUsed, size: 100 + own, layers: [{ digest: 'base', size: 100 }, { digest: environment, size: own }], isAwaited: false })
  const [old, middle, fresh] = [image('old', '1', 10), image('middle', '2', 20), image('fresh', '3', 30)]

  it('count shared layers once', () => {
    expect(totalBytes([old, middle, fresh])).toBe(160)
    expect(totalBytes([{ ...old, layers: [] }, middle])).toBe(230)
  })

  it('are the least recently used, and only as many as must go', () => {
    expect(planEviction([fresh, old, middle], [], 160)).toEqual([])
    expect(planEviction([fresh, old, middle], [], 159)).toEqual([old])
    expect(planEviction([fresh, old, middle], [], 140)).toEqual([old, middle])
    expect(planEviction([fresh, old, middle], [], 1)).toEqual([old, middle])
  })

  it('are none that an unfinished task was given', () => {
    const needing = { ...createRecord(), order: createOrder('', ['true'], { image: imageOf('old', 1) }) }
    expect(planEviction([fresh, old, middle], [needing], 150)).toEqual([middle])
    expect(planEviction([fresh, old, middle], [{ ...needing, report: { ...needing.report, state: 'succeeded' } }], 150)).toEqual([old])
  })
})

describe('bell', () => {
  it('wakes at once for what is urgent, and remembers a ring', async () => {
    const bell = createBell(60_000)
    const { signal } = new AbortController()
    bell.ring(false)
    const waiting = bell.wait(signal)
    bell.ring(true)
    await waiting
    bell.ring(true)
    await expect(bell.wait(signal)).resolves.toBeUndefined()
  })

  it('gathers what is not urgent', async () => {
    const bell = createBell(5)
    bell.ring(false)
    bell.ring(false)
    await bell.wait(new AbortController().signal)
    await expect(bell.wait(AbortSignal.timeout(30))).rejects.toThrow('timeout')
  })
})

describe('a sync that tasks share', () => {
  const progress = { bytes: 0, totalBytes: 10, bytesPerSecond: null }
  const never = new AbortController().signal
  const listener = () => {
    const heard: unknown[] = []
    return { heard, onProgress: (now: unknown) => void heard.push(now), onTrouble: (message: string | null) => void heard.push(message) }
  }

  it('tells latecomers how far it is, and lets one leave without ending it', async () => {
    let finish: (id: string) => void = () => undefined
    let aborted = false
    const sync = createSync(({ signal, onProgress }) => {
      signal.addEventListener('abort', () => (aborted = true))
      onProgress(progress)
      return new Promise((resolve) => (finish = resolve))
    }, never)
    const [early, late] = [listener(), listener()]
    const leave = sync.join(early)
    sync.join(late)
    expect(late.heard).toEqual([progress])
    await expect(withSignal(sync.result, AbortSignal.abort(new Error('killed')))).rejects.toThrow('killed')
    leave()
    expect([aborted, sync.isAbandoned]).toEqual([false, false])
    finish('image')
    expect(await withSignal(sync.result, never)).toBe('image')
  })

  it('ends when the last one has left, or the Runner stops', async () => {
    const work = ({ signal }: { signal: AbortSignal }) => new Promise<string>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error))
    })
    const abandoned = createSync(work, never)
    const leaves = [abandoned.join(listener()), abandoned.join(listener())]
    for (const leave of leaves) leave()
    expect(abandoned.isAbandoned).toBe(true)
    await expect(abandoned.result).rejects.toMatchObject({ code: 'operation.cancelled' })
    const closing = new AbortController()
    const cut = createSync(work, closing.signal)
    cut.join(listener())
    closing.abort(new Error('closing'))
    await expect(cut.result).rejects.toThrow('closing')
  })
})

describe('the progress of a load', () => {
  it('is told at the beginning and then once a second, with its rate', () => {
    let now = 5000
    const told: unknown[] = []
    const meter = createProgressMeter((progress) => told.push(progress), () => now)
    meter.begin(1000)
    meter.advance(10)
    now += 999
    meter.advance(20)
    now += 1001
    meter.advance(500)
    expect(told).toEqual([{ bytes: 0, totalBytes: 1000, bytesPerSecond: null }, { bytes: 500, totalBytes: 1000, bytesPerSecond: 250 }])
  })
})

describe('layers that are missing', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((text) => ({ digest: `sha256:${text.repeat(64)}` })) as [{ digest: string }, { digest: string }, { digest: string }]
  const chainOf = (...layers: { digest: string }[]) => new Set(chainIds(layers.map(({ digest }) => digest)))

  it('are those above the longest beginning that some image has', () => {
    expect(missingLayers([a, b, c], new Set())).toEqual([a, b, c])
    expect(missingLayers([a, b, c], chainOf(a, b))).toEqual([c])
    expect(missingLayers([a, b, c], chainOf(a, b, c))).toEqual([])
    // The same layer on top of another one is another file system.
    expect(missingLayers([a, b, c], chainOf(b, c))).toEqual([a, b, c])
    expect(missingLayers([a, b, a], chainOf(a))).toEqual([b, a])
    expect(missingLayers([a, a], new Set())).toEqual([a])
  })

  it('are known by the ids that the image specification gives to chains', () => {
    // Of the two lowest layers of an image, as `docker inspect` and the layer store of an Engine show them.
    expect(chainIds(['sha256:1', 'sha256:2'])).toEqual(['sha256:1', `sha256:${createHash('sha256').update('sha256:1 sha256:2').digest('hex')}`])
  })
})
