import { describe, expect, it } from 'vitest'
import { createOutOfMemory } from '#runner/executors/docker/out-of-memory.ts'
import { createKillParser, type OomKill } from '#runner/hardware/kernel-log.ts'

const CONTAINER = 'a'.repeat(64)
const OTHER = 'b'.repeat(64)
/** As a kernel 6.18 writes them: within a cgroup v1, below a systemd scope, of the whole machine, and without the lines that it holds back. */
const RECORDS = [
  `6,2190,23978258372,-;tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0`,
  `6,2191,23978258637,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=${CONTAINER},mems_allowed=0,oom_memcg=/docker/${CONTAINER},task_memcg=/docker/${CONTAINER},task=tail, x=y,pid=32078,uid=0`,
  `3,2192,23978258700,-;Memory cgroup out of memory: Killed process 32078 (tail, x=y) total-vm:488296kB, anon-rss:15360kB, file-rss:512kB, shmem-rss:0kB, UID:0 pgtables:76kB oom_score_adj:0`,
  `6,2193,23979000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-${OTHER}.scope,mems_allowed=0,oom_memcg=/system.slice/docker-${OTHER}.scope,task_memcg=/system.slice/docker-${OTHER}.scope,task=python,pid=7,uid=1000\n SUBSYSTEM=memory`,
  `3,2194,23980000000,-;Memory cgroup out of memory: Killed process 99 (stress) total-vm:1kB, anon-rss:8192kB, file-rss:0kB, shmem-rss:1024kB, UID:0 pgtables:76kB oom_score_adj:0`,
  `6,2195,23981000000,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/docker/${CONTAINER},task=java,pid=55,uid=0`,
  `3,2196,23981000001,-;Out of memory: Killed process 55 (java) total-vm:1kB, anon-rss:9kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:76kB oom_score_adj:0`,
  `6,2197,23981000002,-;docker0: port 1(veth2a968ba) entered forwarding state`,
]

describe('kills for want of memory', () => {
  it('are read from the kernel\'s log', () => {
    const parser = createKillParser()
    for (const record of RECORDS) parser.push(record)
    expect(parser.kills).toEqual([
      { pid: 32078, cgroup: `/docker/${CONTAINER}`, isLimit: true, rssBytes: 15360 * 1024, time: 23978258.637 },
      { pid: 7, cgroup: `/system.slice/docker-${OTHER}.scope`, isLimit: true, rssBytes: undefined, time: 23979000 },
      { pid: 99, cgroup: undefined, isLimit: true, rssBytes: 9216 * 1024, time: 23980000 },
      { pid: 55, cgroup: `/docker/${CONTAINER}`, isLimit: false, rssBytes: 9 * 1024, time: 23981000 },
    ])
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
  const anonymous = (change: Partial<OomKill> = {}): OomKill => ({ pid: 9, cgroup: undefined, isLimit: true, rssBytes: 15 * MEBIBYTE, time: now(), ...change })
  const ended = { id: CONTAINER, exitCode: 137, outOfMemory: false, memoryBytes: 16 * MEBIBYTE, get finished() { return new Date().toISOString() } }
  const judge = (kills: OomKill[]) => createOutOfMemory({ log: { readKills: () => kills, close: () => undefined }, closing })
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

  it('of items is that of their own process, or of a child a moment ago', () => {
    const item = { ...ended, pid: 7 }
    const own = (change: Partial<OomKill>) => judge([anonymous({ cgroup: `/docker/${CONTAINER}`, ...change })]).happenedToItem(item)
    expect(own({ pid: 7, time: 0 })).toBe(true)
    expect(own({ pid: 8 })).toBe(true)
    expect(own({ pid: 8, time: 0 })).toBe(false)
    expect(judge([anonymous({ cgroup: `/docker/${OTHER}`, pid: 7 })]).happenedToItem(item)).toBe(false)
  })
})
