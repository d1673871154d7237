import { describe, expect, it } from 'vitest'
import { createOutOfMemory } from '#runner/executors/docker/out-of-memory.ts'
import { createOomScores } from '#runner/executors/pack/oom-marks.ts'
import { createKillParser, type OomKill } from '#runner/hardware/kernel-log.ts'

const CONTAINER = 'a'.repeat(64)
const OTHER = 'b'.repeat(64)
/** As a kernel 6.18 writes them: within a cgroup v1, below a systemd scope, of the whole machine, and without the lines that it holds back. */
const RECORDS = [
  `6,2190,23978258372,-;tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0`,
  `6,2191,23978258637,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=${CONTAINER},mems_allowed=0,oom_memcg=/docker/${CONTAINER},task_memcg=/docker/${CONTAINER},task=tail, x=y,pid=32078,uid=0`,
  `3,2192,23978258700,-;Memory cgroup out of memory: Killed process 32078 (tail, x=y) total-vm:488296kB, anon-rss:15360kB, file-rss:512kB, shmem-rss:0kB, UID:0 pgtables:76kB oom_score_adj:601`,
  `6,2193,23979000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-${OTHER}.scope,mems_allowed=0,oom_memcg=/system.slice/docker-${OTHER}.scope,task_memcg=/system.slice/docker-${OTHER}.scope,task=python,pid=7,uid=1000\n SUBSYSTEM=memory`,
  `3,2194,23980000000,-;Memory cgroup out of memory: Killed process 99 (stress) total-vm:1kB, anon-rss:8192kB, file-rss:0kB, shmem-rss:1024kB`,
  `6,2195,23981000000,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/docker/${CONTAINER},task=java,pid=55,uid=0`,
  `3,2196,23981000001,-;Out of memory: Killed process 55 (java) total-vm:1kB, anon-rss:9kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:76kB oom_score_adj:-998`,
  `6,2197,23981000002,-;docker0: port 1(veth2a968ba) entered forwarding state`,
]

describe('kills for want of memory', () => {
  it('are read from the kernel\'s log', () => {
    const parser = createKillParser()
    for (const record of RECORDS) parser.push(record)
    expect(parser.kills).toEqual([
      { pid: 32078, cgroup: `/docker/${CONTAINER}`, isLimit: true, rssBytes: 15360 * 1024, score: 601, time: 23978258.637, sequence: 2191 },
      { pid: 7, cgroup: `/system.slice/docker-${OTHER}.scope`, isLimit: true, rssBytes: undefined, score: undefined, time: 23979000, sequence: 2193 },
      { pid: 99, cgroup: undefined, isLimit: true, rssBytes: 9216 * 1024, score: undefined, time: 23980000, sequence: 2194 },
      { pid: 55, cgroup: `/docker/${CONTAINER}`, isLimit: false, rssBytes: 9 * 1024, score: -998, time: 23981000, sequence: 2195 },
    ])
    expect(parser.position).toBe(2197)
  })

  it('are remembered, but not all for ever', () => {
    const parser = createKillParser()
    for (let pid = 0; pid < 3000; pid++) parser.push(`3,1,${pid},-;Memory cgroup out of memory: Killed process ${pid} (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0`)
    expect(parser.kills).toHaveLength(1000)
    expect(parser.kills.at(-1)?.pid).toBe(2999)
  })
})

describe('out of memory', () => {
  const MEBIBYTE = 2 ** 20
  const { signal: closing } = new AbortController()
  const now = () => Number(process.hrtime.bigint() / 1_000_000n)
  /** A kill just now. */
  const anonymous = (change: Partial<OomKill> = {}): OomKill => ({ pid: 9, cgroup: undefined, isLimit: true, rssBytes: 15 * MEBIBYTE, score: 0, time: now(), sequence: 8, ...change })
  const ended = { id: CONTAINER, exitCode: 137, outOfMemory: false, memoryBytes: 16 * MEBIBYTE, get finished() { return new Date().toISOString() } }
  const judge = (kills: OomKill[]) => createOutOfMemory({ log: { readKills: () => kills, readPosition: () => 9, close: () => undefined }, closing })
  const inspect = () => Promise.reject(new Error('the Engine is not asked again'))

  it('is what the kernel says, whatever the exit code is', async () => {
    const oom = judge([anonymous({ cgroup: `/docker/${CONTAINER}`, time: 0 })])
    expect(await oom.happened({ ...ended, exitCode: 3 }, inspect)).toBe(true)
    expect(await oom.happened({ ...ended, id: OTHER }, inspect)).toBe(false)
  })

  it('is what the Engine says', async () => {
    expect(await judge([]).happened({ ...ended, outOfMemory: true }, inspect)).toBe(true)
  })

  it('is guessed from a kill that the kernel did not name, once', async () => {
    const oom = judge([anonymous()])
    expect(await oom.happened(ended, inspect)).toBe(true)
    expect(await oom.happened({ ...ended, id: OTHER }, inspect)).toBe(false)
  })

  it('is guessed of a child, if its parent ended at once', async () => {
    expect(await judge([anonymous()]).happened({ ...ended, exitCode: 3 }, inspect)).toBe(true)
  })

  it('leaves kills to those that the Engine has named', async () => {
    const oom = judge([anonymous()])
    expect(await oom.happened({ ...ended, outOfMemory: true }, inspect)).toBe(true)
    expect(await oom.happened({ ...ended, id: OTHER }, inspect)).toBe(false)
  })

  it.each([
    ['a container that ended a while later', {}, { exitCode: 1, finished: new Date(Date.now() + 3500).toISOString() }],
    ['no limit', {}, { memoryBytes: null }],
    ['a kill long ago', { time: 0 }, {}],
    ['a container that ended long ago', {}, { finished: '2026-01-01T00:00:00.000Z' }],
    ['a container that ended nobody knows when', {}, { finished: null }],
    ['a kill of something larger', { rssBytes: 17 * MEBIBYTE }, {}],
    ['a kill of something much smaller', { rssBytes: MEBIBYTE }, {}],
    ['a machine without memory', { isLimit: false }, {}],
  ])('is not guessed from %s', async (_, kill, change) => {
    expect(await judge([anonymous(kill)]).happened({ ...ended, ...change }, inspect)).toBe(false)
  })

  describe('where the kernel\'s log may not be read', () => {
    const blind = createOutOfMemory({ log: undefined, closing })
    const answers = (...flags: boolean[]) => () => Promise.resolve({ outOfMemory: flags.shift() ?? false } as never)

    it('is what the Engine says a moment later', async () => {
      expect(await blind.happened(ended, answers(false, true))).toBe(true)
      expect(await blind.happened(ended, answers(false, false))).toBe(false)
    })

    it('is not waited for where it can not be', async () => {
      expect(await blind.happened({ ...ended, exitCode: 1, memoryBytes: null }, inspect)).toBe(false)
    })
  })

  describe('of an item', () => {
    const happened = (change: Partial<OomKill>, score: number | null = 601) => judge([anonymous({ cgroup: `/docker/${CONTAINER}`, ...change })]).happenedToItem({ id: CONTAINER, pid: 7, outOfMemory: true, mark: { score, after: 5 } })

    it.each([
      ['its main process was ended', 'yes', { pid: 7 }],
      ['a process with its score was', 'yes', { score: 601 }],
      ['a process of another item was', 'no', { score: 602 }],
      ['a process of one of those that have no score of their own was', 'no', { score: 600 }],
      ['it was before the item began', 'no', { pid: 7, score: 601, sequence: 5 }],
      ['it was in another container', 'no', { pid: 7, score: 601, cgroup: `/docker/${OTHER}` }],
      ['a process that has changed its score was', 'unknown', { score: 300 }],
      ['the kernel does not tell the score', 'unknown', { score: undefined }],
      ['the kernel does not tell the container', 'unknown', { cgroup: undefined, score: 601 }],
      ['the kernel tells neither of them', 'no', { cgroup: undefined, score: undefined }],
    ] as const)('%s: %s', (_, answer, change) => {
      expect(happened(change)).toBe(answer)
    })

    it('without a score of its own is not known, unless another has it', () => {
      expect(happened({ score: 600 }, 600)).toBe('unknown')
      expect(happened({ score: 601 }, 600)).toBe('no')
      expect(happened({ score: 0 }, null)).toBe('unknown')
      expect(happened({ pid: 7 }, null)).toBe('yes')
    })

    it('is not known where the log may not be read and the Engine says that something was ended', () => {
      const blind = createOutOfMemory({ log: undefined, closing })
      const ask = (outOfMemory: boolean) => blind.happenedToItem({ id: CONTAINER, pid: 7, outOfMemory, mark: { score: 601, after: blind.position() } })
      expect([ask(true), ask(false)]).toEqual(['unknown', 'no'])
    })
  })
})

describe('scores of items', () => {
  it('are their own, the lowest first, as long as there are any', () => {
    const scores = createOomScores()
    expect(['a', 'b', 'a', 'c'].map((key) => scores.take(key))).toEqual([601, 602, 601, 603])
    scores.free('b')
    scores.keep('recovered', 604)
    expect(['d', 'e'].map((key) => scores.take(key))).toEqual([602, 605])
    const more = Array.from({ length: 100 }, (_, index) => scores.take(`more ${index}`))
    expect(new Set(more.slice(0, 59)).size).toBe(59)
    expect(new Set(more.slice(59))).toEqual(new Set([600]))
  })
})
