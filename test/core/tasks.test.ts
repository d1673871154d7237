import { describe, expect, it } from 'vitest'
import { isMountAllowed, parseMount } from '#core/tasks/mounts.ts'
import { formatSize, parseSize } from '#core/tasks/sizes.ts'
import { canTransition, holdsResources, isFinal, taskStates } from '#core/tasks/states.ts'
import { parseTarget } from '#core/tasks/targets.ts'

describe('states', () => {
  const ends = ['succeeded', 'failed', 'killed', 'out_of_memory', 'timed_out', 'lost']
  /** Where a task may go from where: the diagram of docs/tasks.md. */
  const table: Record<(typeof taskStates)[number], string[]> = {
    queued: ['assigned', 'running', 'succeeded', 'killed', 'failed'],
    assigned: ['queued', 'syncing', 'starting', 'running', 'paused', ...ends],
    syncing: ['queued', 'starting', 'running', 'paused', ...ends],
    starting: ['queued', 'running', 'paused', ...ends],
    running: ['queued', 'paused', ...ends],
    paused: ['queued', 'running', ...ends],
    succeeded: [],
    failed: ['queued'],
    killed: ['queued'],
    out_of_memory: ['queued'],
    timed_out: ['queued'],
    lost: ['queued', 'syncing', 'starting', 'running', 'paused', 'succeeded', 'failed', 'killed', 'out_of_memory', 'timed_out'],
  }

  it.each(taskStates.flatMap((from) => taskStates.map((to) => [from, to, table[from].includes(to)] as const)))('%s → %s: %s', (from, to, may) => {
    expect(canTransition(from, to)).toBe(may)
  })

  it('end in success for good, otherwise until they are tried again, and in loss until the node is back', () => {
    expect(taskStates.filter(isFinal)).toEqual(ends)
    expect(ends.filter((state) => taskStates.some((to) => to !== 'queued' && canTransition(state as (typeof taskStates)[number], to)))).toEqual(['lost'])
  })

  it('every state but the first can be reached from the queue', () => {
    const reached = new Set<string>(['queued'])
    for (let size = 0; size !== reached.size;) {
      size = reached.size
      for (const from of taskStates.filter((state) => reached.has(state))) for (const to of taskStates) if (canTransition(from, to)) reached.add(to)
    }
    expect([...reached].toSorted()).toEqual([...taskStates].toSorted())
  })

  it('reserves from acceptance to the end, paused included', () => {
    expect(taskStates.filter(holdsResources)).toEqual(['assigned', 'syncing', 'starting', 'running', 'paused'])
  })
})

describe('sizes', () => {
  it.each([['0', 0], ['512', 512], ['3K', 3000], ['3k', 3000], ['24G', 24e9], ['1T', 1e12], ['2MiB', 2 * 1024 ** 2], ['1Gi', 1024 ** 3], ['10MB', 1e7]])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })

  it.each(['', '3X', '-1', '1.5G', 'G', '1 G', '1ib', '99999999999T', '0x10'])('refuses %j', (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'size.invalid' }))
  })

  it.each([[0, '0 B'], [999, '999 B'], [1060000, '1.06 MB'], [999_600, '1.00 MB'], [2.272e9, '2.27 GB']])('shows %d as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text)
  })
})

describe('targets', () => {
  it.each([
    ['node1', { node: 'node1' }],
    ['node_1.lab:0', { node: 'node_1.lab', numaNode: 0 }],
    ['node1::0,1', { node: 'node1', gpus: [0, 1] }],
    ['node1:1::3', { node: 'node1', numaNode: 1, gpus: [3] }],
  ])('reads %s', (text, target) => {
    expect(parseTarget(text)).toEqual(target)
  })

  it.each(['', ':0', 'node1:', 'node1::', 'node1::a', 'node 1', 'node1:x', '-n', 'node1::1,1', 'node1::1,01'])('refuses %j', (text) => {
    expect(() => parseTarget(text)).toThrow(expect.objectContaining({ code: 'target.invalid' }))
  })
})

describe('mounts', () => {
  it('reads source, target and mode', () => {
    expect(parseMount('/data:/mnt/data:ro')).toEqual({ source: '/data', target: '/mnt/data', readOnly: true })
    expect(parseMount('/data:/data').readOnly).toBe(false)
  })

  it.each(['', '/a', 'a:/b', '/a:b', '/a:/b:xx', '/a:/b:ro:x', '/a/../b:/c', '/a\0:/b'])('refuses %j', (text) => {
    expect(() => parseMount(text)).toThrow(expect.objectContaining({ code: 'task.command_invalid' }))
  })

  it('allows below a root, not beside it', () => {
    expect(isMountAllowed('/data/x', ['/data'])).toBe(true)
    expect(isMountAllowed('/data', ['/data'])).toBe(true)
    expect(isMountAllowed('/database', ['/data'])).toBe(false)
    expect(isMountAllowed('/data', [])).toBe(false)
  })
})
