import { accessSync, constants, mkdtempSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { readStatus } from '#runner/linux/proc.ts'
import { scopeOf } from '#runner/processes/remove.ts'
import { createScope, type Limits } from '#runner/processes/scope/create.ts'
import { type CgroupSetup, detectCgroups, listScopes } from '#runner/processes/scope/detect.ts'
import { openScope } from '#runner/processes/scope/scope.ts'
import { createPlainNode, type PlainNode, unifiedCgroups, unifiedMount } from './support/plain-node.ts'

const NO_LIMITS: Limits = { cores: 0, cpus: null, memoryNodes: null, memoryBytes: null, processes: 100 }
const LIMITS: Limits = { cores: 2, cpus: '0-1', memoryNodes: '0', memoryBytes: 64 * 1024 * 1024, processes: 100 }
const PATH = 'hakuriver/node/01a'

/** The files of a kernel that nobody answers behind: what is written stays, and what is to be read is put there. */
describe('the files of cgroups', () => {
  let root: string

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'hakuriver-cgroup-test-'))
  })
  afterEach(() => rm(root, { recursive: true, force: true }))

  const mountOf = (type: string, directory: string, options: string) => `31 23 0:28 / ${directory} rw,relatime shared:1 - ${type} ${type} rw,${options}\n`
  const text = (...path: string[]) => readFile(join(root, ...path), 'utf8')
  const put = async (content: string, ...path: string[]) => {
    await mkdir(join(root, ...path, '..'), { recursive: true })
    await writeFile(join(root, ...path), content)
  }

  const detect = (change: Partial<Parameters<typeof detectCgroups>[0]> = {}) => detectCgroups({ node: 'node', mounts: mountOf('cgroup2', root, ''), own: '0::/system.slice/hakuriver.service/runner\n', isRoot: true, ...change })

  describe('of version 2', () => {
    beforeEach(() => put('cpuset cpu io memory hugetlb pids\n', 'cgroup.controllers'))

    it('are found, and enabled on the way down', async () => {
      expect(detect()).toEqual({ kind: 'cgroup-v2', base: root, controllers: ['cpuset', 'cpu', 'memory', 'pids'], supervisors: join(root, 'hakuriver/node/supervisors') })
      for (const directory of ['', 'hakuriver', 'hakuriver/node']) expect(await text(directory, 'cgroup.subtree_control')).toBe('+pids')
      await expect(text('hakuriver/node/supervisors/cgroup.subtree_control')).rejects.toThrow(/ENOENT/)
    })

    it('are those that were delegated, for a Runner that is not root', async () => {
      await put('memory pids\n', 'system.slice/hakuriver.service/cgroup.controllers')
      expect(detect({ isRoot: false })).toEqual({
        kind: 'cgroup-v2',
        base: join(root, 'system.slice/hakuriver.service'),
        controllers: ['memory', 'pids'],
        supervisors: join(root, 'system.slice/hakuriver.service/hakuriver/node/supervisors'),
      })
    })

    it('take all limits', async () => {
      await put('max', PATH, 'memory.swap.max')
      expect(createScope(detect(), { path: PATH, marks: [], limits: LIMITS })).toEqual({ handle: { kind: 'cgroup-v2', directory: join(root, PATH), supervisors: join(root, 'hakuriver/node/supervisors') }, missing: null })
      const files = { 'cpu.max': '200000 100000', 'memory.max': '67108864', 'memory.swap.max': '0', 'pids.max': '100', 'cpuset.cpus': '0-1', 'cpuset.mems': '0' }
      for (const [file, value] of Object.entries(files)) expect([file, await text(PATH, file)]).toEqual([file, value])
    })

    it('have no limit that was not asked for', async () => {
      expect(createScope(detect(), { path: PATH, marks: [], limits: NO_LIMITS }).missing).toBeNull()
      for (const file of ['cpu.max', 'memory.max', 'memory.swap.max', 'cpuset.cpus', 'cpuset.mems']) await expect(text(PATH, file)).rejects.toThrow(/ENOENT/)
    })

    it('tell which limits they do not take', async () => {
      // As where a controller is not delegated.
      await mkdir(join(root, 'cgroup.subtree_control'))
      const { missing } = createScope(detect(), { path: PATH, marks: [], limits: LIMITS })
      expect(missing).toBe('This node does not limit the cores and memory and CPUs and number of processes of a plain process: it has no cgroup controller for that.')
      // As where a value is refused.
      await rm(join(root, 'cgroup.subtree_control'), { recursive: true })
      await mkdir(join(root, PATH, 'memory.max'))
      expect(createScope(detect(), { path: PATH, marks: [], limits: LIMITS }).missing).toMatch(/^This node does not limit the memory of a plain process: The kernel does not take "67108864"/)
    })

    it('tell what is going on in them', async () => {
      await put('1200\n', PATH, 'cgroup.procs')
      await put('1201\n1202\n', PATH, 'nested', 'cgroup.procs')
      await put('low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\n', PATH, 'memory.events')
      const [handle] = listScopes(detect(), 'node').values()
      const scope = openScope(handle ?? { kind: 'group', marks: [] }, undefined)
      expect(scope.pids()).toEqual([1200, 1201, 1202])
      expect(scope.outOfMemory()).toBe(false)
      await put('low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n', PATH, 'memory.events')
      expect(scope.outOfMemory()).toBe(true)
      await scope.freeze()
      expect([await text(PATH, 'cgroup.freeze'), scope.isFrozen()]).toEqual(['1', true])
      await scope.thaw()
      expect([await text(PATH, 'cgroup.freeze'), scope.isFrozen()]).toEqual(['0', false])
    })

    it('are ended by the kernel where it can', async () => {
      await put('', PATH, 'cgroup.kill')
      await put('1200\n', PATH, 'cgroup.procs')
      const scope = openScope({ kind: 'cgroup-v2', directory: join(root, PATH), supervisors: '' }, undefined)
      expect(await scope.kill(10)).toBe(1)
      expect(await text(PATH, 'cgroup.kill')).toBe('1')
    })
  })

  describe('of version 1', () => {
    const mounts = () => mountOf('cgroup', join(root, 'cpu,cpuacct'), 'cpu,cpuacct') + mountOf('cgroup', join(root, 'cpuset'), 'cpuset') + mountOf('cgroup', join(root, 'with\\040space'), 'memory') + mountOf('cgroup', join(root, 'systemd'), 'xattr,name=systemd') + mountOf('cgroup2', join(root, 'unified'), '')

    beforeEach(async () => {
      await put('hugetlb\n', 'unified/cgroup.controllers')
      await put('0-3\n', 'cpuset/cpuset.cpus')
      await put('0\n', 'cpuset/cpuset.mems')
    })

    it('are taken where version 2 has no controllers', async () => {
      // As the kernel makes them.
      for (const directory of ['hakuriver', 'hakuriver/node', 'hakuriver/node/supervisors']) for (const file of ['cpuset.cpus', 'cpuset.mems']) await put('\n', 'cpuset', directory, file)
      const setup = detect({ mounts: mounts() })
      expect(setup).toEqual({
        kind: 'cgroup-v1',
        hierarchies: { cpu: join(root, 'cpu,cpuacct'), memory: join(root, 'with space'), cpuset: join(root, 'cpuset'), systemd: join(root, 'systemd'), unified: join(root, 'unified') },
        supervisors: ['cpu,cpuacct', 'with space', 'cpuset', 'systemd', 'unified'].map((name) => join(root, name, 'hakuriver/node/supervisors')),
      } satisfies CgroupSetup)
      expect(await text('cpuset/hakuriver/node/supervisors/cpuset.cpus')).toBe('0-3')
    })

    it('tell which limits they do not take', () => {
      const { missing } = createScope(detect({ mounts: mounts() }), { path: PATH, marks: [], limits: LIMITS })
      expect(missing).toBe('This node does not limit the number of processes of a plain process: it has no cgroup controller for that.')
    })

    it('forbid swapping where they do not count it', async () => {
      createScope(detect({ mounts: mounts() }), { path: PATH, marks: [], limits: LIMITS })
      expect(await text('with space', PATH, 'memory.limit_in_bytes')).toBe('67108864')
      expect(await text('with space', PATH, 'memory.swappiness')).toBe('0')
    })
  })

  it('are not used where they are not there, or not ours', async () => {
    expect(detect({ mounts: mountOf('ext4', '/', '') })).toEqual({ kind: 'group', why: 'no cgroups are mounted' })
    await put('memory\n', 'cgroup.controllers')
    await put('a file in its place', 'hakuriver')
    expect(detect()).toEqual({ kind: 'group', why: expect.stringContaining('hakuriver') })
  })

  it('tell what is missing without them', () => {
    const { handle, missing } = createScope({ kind: 'group', why: 'no cgroups are mounted' }, { path: PATH, marks: ['A=1'], limits: LIMITS })
    expect(handle).toEqual({ kind: 'group', marks: ['A=1'] })
    expect(missing).toBe('This node does not limit the cores and memory and CPUs of a plain process: no cgroups are mounted.')
  })
})

const isUsable = (() => {
  try {
    accessSync(unifiedMount ?? '/nowhere', constants.W_OK)
    return process.getuid?.() === 0
  } catch {
    return false
  }
})()
if (!isUsable) console.log('tests with real cgroups of version 2 are skipped: this machine has none that can be written')

describe.skipIf(!isUsable)('real cgroups of version 2', () => {
  let node: PlainNode

  beforeAll(async () => {
    node = await createPlainNode(unifiedCgroups)
  })
  afterAll(() => node?.remove())

  it('hold a process from its first instruction on', async () => {
    const report = await node.run(['cat', '/proc/self/cgroup'], { cores: 0 })
    expect(await node.stdout(report)).toContain(`0::/hakuriver/${node.hostname}/${report.id}\n`)
  })

  it('freeze, thaw and end a whole tree', async () => {
    const order = await node.start(['sh', '-c', 'setsid sleep 1000 & echo $!; i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done'], { signal: 'SIGKILL' })
    await node.untilPrinted(order, '\n5\n')
    await node.tasks.pause(order)
    const frozen = () => scopeOf(node.files(order))?.isFrozen()
    expect(frozen()).toBe(true)
    await node.tasks.resume(order)
    expect(frozen()).toBe(false)
    await node.untilPrinted(order, '\n20\n')
    await node.tasks.pause(order)
    await node.tasks.kill(order)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'killed', exitCode: 137 })
    const child = Number((await node.stdout(order)).split('\n')[0])
    expect(readStatus(child)?.isZombie ?? true).toBe(true)
  })
})
