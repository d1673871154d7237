import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TaskOrder } from '#core/api/schemas.ts'
import { processCgroup } from '#core/paths.ts'
import { removeOrphanProcesses, scopeOf } from '#runner/processes/remove.ts'
import { readStatus } from '#runner/linux/proc.ts'
import { createPlainNode, machineCgroups, machineSetup, type PlainNode } from './support/plain-node.ts'

const missing = machineSetup.kind === 'group' ? machineSetup.why : undefined
if (missing !== undefined) console.log(`tests of the limits of plain processes are skipped: ${missing}`)
const isV1 = machineSetup.kind === 'cgroup-v1'
if (!isV1) console.log(`tests with the files of cgroups of version 1 are skipped: this machine has ${machineSetup.kind}`)

/** Allocates, and touches, so many MiB. */
const ALLOCATE = (mebibytes: number) => [process.execPath, '-e', `const all = []; for (let i = 0; i < ${mebibytes}; i++) all.push(Buffer.alloc(1048576, 1)); console.log(all.length)`]

describe.skipIf(missing !== undefined)('limits of plain processes', () => {
  let node: PlainNode

  beforeAll(async () => {
    node = await createPlainNode(machineCgroups)
  })
  afterAll(() => node?.remove())

  const path = ({ id, instance }: Pick<TaskOrder, 'id' | 'instance'>) => processCgroup(node.hostname, id, instance)

  it('puts a process into its cgroup before its first instruction, and its supervisor into another', async () => {
    const report = await node.run(['cat', '/proc/self/cgroup'])
    expect(await node.stdout(report)).toContain(`/${path(report)}\n`)
    const order = await node.start(['sleep', '1000'])
    const supervisor = JSON.parse(readFileSync(node.files(order).claim(1), 'utf8')) as { pid: number }
    expect(readFileSync(`/proc/${supervisor.pid}/cgroup`, 'utf8')).toContain(`hakuriver/${node.hostname}/supervisors`)
    expect(readFileSync(`/proc/${supervisor.pid}/cgroup`, 'utf8')).not.toContain(path(order))
    await node.tasks.kill(order)
    await node.untilFinal(order)
  })

  it('tells that the memory limit ended it', async () => {
    const report = await node.run(ALLOCATE(400), { memoryBytes: 128 * 1024 * 1024 })
    expect(report).toMatchObject({ state: 'out_of_memory', reason: 'memory_limit', exitCode: 137 })
    expect(report.message).toContain('134217728')
  })

  it('tells that the memory limit ended a child', async () => {
    const report = await node.run(['sh', '-c', '"$@" || exit 9', 'sh', ...ALLOCATE(400)], { memoryBytes: 128 * 1024 * 1024 })
    expect(report).toMatchObject({ state: 'out_of_memory', exitCode: 9 })
  })

  it('does not take exit code 137 for a want of memory', async () => {
    expect(await node.run(['sh', '-c', 'exit 137'], { memoryBytes: 128 * 1024 * 1024 })).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 137 })
    expect(await node.run(['sh', '-c', 'kill -9 $$'], { memoryBytes: 128 * 1024 * 1024 })).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 137 })
  })

  it('leaves no cgroup behind', async () => {
    const report = await node.run(['true'], { memoryBytes: 64 * 1024 * 1024, numaNode: 0 })
    expect(report).toMatchObject({ state: 'succeeded', message: null })
    node.tasks.acknowledge([report])
    await node.tasks.settled()
    const left = ['cpu', 'memory', 'pids', 'freezer', 'cpuset', 'systemd', 'unified', ''].map((hierarchy) => join('/sys/fs/cgroup', hierarchy, path(report))).filter((directory) => existsSync(directory))
    expect(left).toEqual([])
  })

  it('ends what forks as fast as it can', async () => {
    const order = await node.start(['sh', '-c', 'echo ready; bomb() { while :; do setsid sleep 0.01 & done; }; bomb & bomb & bomb'], { signal: 'SIGKILL' })
    await node.untilPrinted(order, 'ready')
    await node.tasks.kill(order)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'killed', message: null })
    expect(scopeOf(node.files(order))?.pids()).toEqual([])
  })

  it('ends what nobody remembers', async () => {
    const known = await node.start(['sleep', '1000'])
    const order = await node.start(['sleep', '1000'])
    const pid = node.pid(order)
    const state = { find: (execution: Pick<TaskOrder, 'id' | 'instance'>) => (execution.id === order.id ? undefined : node.state.find(execution)) }
    expect(await removeOrphanProcesses({ ...node.services, state })).toEqual([order.id])
    expect(readStatus(pid)?.isZombie ?? true).toBe(true)
    expect(readStatus(node.pid(known))?.isZombie).toBe(false)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'failed', reason: 'node_forgot' })
    await node.tasks.kill(known)
    await node.untilFinal(known)
  })

  describe.skipIf(!isV1)('in the files of version 1', () => {
    const value = (controller: string, order: TaskOrder, file: string) => readFileSync(join('/sys/fs/cgroup', controller, path(order), file), 'utf8').trim()

    it('limits cores, memory without swap, processes, CPUs and their memory', async () => {
      const order = await node.start(['sleep', '1000'], { cores: 2, memoryBytes: 64 * 1024 * 1024, numaNode: 0 })
      expect(value('cpu', order, 'cpu.cfs_quota_us')).toBe(String(2 * Number(value('cpu', order, 'cpu.cfs_period_us'))))
      expect(value('memory', order, 'memory.limit_in_bytes')).toBe(String(64 * 1024 * 1024))
      expect(value('memory', order, 'memory.memsw.limit_in_bytes')).toBe(String(64 * 1024 * 1024))
      expect(value('pids', order, 'pids.max')).toBe('32768')
      expect([value('cpuset', order, 'cpuset.cpus'), value('cpuset', order, 'cpuset.mems')]).toEqual(['0', '0'])
      expect(readFileSync(`/proc/${node.pid(order)}/status`, 'utf8')).toMatch(/Cpus_allowed_list:\s+0\n/)
      await node.tasks.kill(order)
      await node.untilFinal(order)
    })

    it('puts it into every hierarchy that it needs, and that of systemd', async () => {
      const report = await node.run(['cat', '/proc/self/cgroup'], { numaNode: 0 })
      const inside = (await node.stdout(report)).split('\n').filter((line) => line.endsWith(`/${path(report)}`))
      const names = inside.map((line) => line.split(':')[1])
      expect(names).toEqual(expect.arrayContaining(['cpu', 'cpuset', 'memory', 'pids', 'freezer', 'name=systemd']))
    })

    it('sets no limit that was not asked for', async () => {
      const order = await node.start(['sleep', '1000'], { cores: 0 })
      expect(value('cpu', order, 'cpu.cfs_quota_us')).toBe('-1')
      expect(Number(value('memory', order, 'memory.limit_in_bytes'))).toBeGreaterThan(2 ** 60)
      expect(existsSync(join('/sys/fs/cgroup/cpuset', path(order)))).toBe(false)
      await node.tasks.kill(order)
      await node.untilFinal(order)
    })
  })
})
