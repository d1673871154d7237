import { mkdtempSync } from 'node:fs'
import { rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { NumaNode } from '#core/api/schemas.ts'
import type { ContainerSpec, Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { type CpuOptions, createCpuAllocator } from '#runner/executors/docker/cpus.ts'
import { deviceRequest, gpuVariables } from '#runner/executors/docker/gpus.ts'
import { warmName } from '#runner/executors/pack/spec.ts'
import { openRunnerState, type RunnerState } from '#runner/state/state.ts'
import { testEngine } from '../support/engine.ts'
import { withFaults } from '../support/faulty-engine.ts'
import { createLocalTasks } from './support/local-tasks.ts'
import { createRecord } from './support/records.ts'
import { createOrder, createWorkspace } from './support/workspace.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hakuriver-devices-'))
})
afterEach(() => rm(root, { recursive: true }))

const GPUS = [{ id: 0, uuid: 'GPU-a' }, { id: 3, uuid: 'GPU-d' }]

describe('GPUs of an order', () => {
  const order = createOrder('', ['true'], { gpus: GPUS })
  const engineWith = (...cdiDirectories: string[]) => ({ info: () => Promise.resolve({ cdiDirectories } as Awaited<ReturnType<Engine['info']>>) })

  it('are asked of no driver if there are none', async () => {
    expect(await deviceRequest(createOrder('', ['true']), engineWith(), 'nvidia')).toBeUndefined()
  })

  it('are asked of the configured driver', async () => {
    expect(await deviceRequest(order, engineWith(root), 'nvidia')).toEqual({ driver: 'nvidia', ids: ['GPU-a', 'GPU-d'] })
    expect(await deviceRequest(order, engineWith(), 'cdi')).toEqual({ driver: 'cdi', ids: ['nvidia.com/gpu=GPU-a', 'nvidia.com/gpu=GPU-d'] })
  })

  it('are asked of CDI where the Engine has a description of them', async () => {
    expect(await deviceRequest(order, engineWith(root, join(root, 'absent')), 'auto')).toMatchObject({ driver: 'nvidia' })
    await writeFile(join(root, 'vendor.yaml'), 'cdiVersion: 0.6.0\nkind: vendor.com/net\n')
    expect(await deviceRequest(order, engineWith(root), 'auto')).toMatchObject({ driver: 'nvidia' })
    await writeFile(join(root, 'nvidia.yaml'), 'cdiVersion: 0.6.0\nkind: nvidia.com/gpu\n')
    expect(await deviceRequest(order, engineWith(join(root, 'absent'), root), 'auto')).toMatchObject({ driver: 'cdi' })
  })

  it('are not asked of CDI where its description can not be read, which is told', async () => {
    const file = join(root, 'nvidia.yaml')
    await symlink(file, file)
    const told = vi.spyOn(console, 'error').mockReturnValue()
    expect(await deviceRequest(order, engineWith(join(root, 'absent'), root), 'auto')).toMatchObject({ driver: 'nvidia' })
    expect(told.mock.calls).toEqual([[expect.stringMatching(`${file}.*ELOOP`)]])
    told.mockRestore()
  })
})

describe('GPUs that a task was not given', () => {
  it.each([
    ['no GPUs on the node', undefined, false, {}],
    ['none given', undefined, true, { NVIDIA_VISIBLE_DEVICES: 'void' }],
    ['some of CDI', { driver: 'cdi', ids: ['nvidia.com/gpu=a'] }, true, { NVIDIA_VISIBLE_DEVICES: 'void' }],
    ['some of the driver, which says so itself', { driver: 'nvidia', ids: ['a'] }, true, {}],
  ] as const)('are hidden: %s', (_, devices, hasGpus, variables) => {
    expect(gpuVariables(devices && { ...devices, ids: [...devices.ids] }, hasGpus)).toEqual(variables)
  })
})

it('an order is asked of the Engine as it is', async () => {
  const engine = testEngine()
  const workspace = await createWorkspace(engine)
  const asked: ContainerSpec[] = []
  const recorder = new Proxy(withFaults(engine, {}), {
    get: (target, method: keyof Engine) => (method === 'createContainer' ? (spec: ContainerSpec) => (asked.push(spec), Promise.reject(new HakuError('engine.invalid', 'That is all.'))) : target[method]),
  })
  const tasks = await createLocalTasks(recorder, workspace, { gpuDriver: 'nvidia', mode: 'cpuset', cpus: [0, 1, 2, 3], numaNodes: [{ id: 0, cpus: '0-1', cores: 2, memoryBytes: 1 }, { id: 1, cpus: '2-3', cores: 2, memoryBytes: 1 }] })
  try {
    const order = createOrder('sha256:image', ['a', 'b c'], { instance: 3, cores: 2, memoryBytes: 1e9, numaNode: 1, gpus: GPUS, user: '7:8', workdir: '/work', network: 'none', privileged: true, mounts: [`${root}:/data:ro`], env: { A: 'b' }, maxOutputBytes: 1000 })
    await tasks.accept(order)
    expect(await tasks.untilFinal(order.id)).toMatchObject({ state: 'failed', message: 'That is all.' })
    expect(asked).toEqual([
      {
        name: `hakuriver-task-${order.id}-3`,
        image: 'sha256:image',
        command: ['a', 'b c'],
        env: { A: 'b', HAKURIVER_TASK_ID: order.id, HAKURIVER_NODE: workspace.hostname, HAKURIVER_INSTANCE: '3', HAKURIVER_ENVIRONMENT: 'test-env' },
        labels: { 'hakuriver.task': order.id, 'hakuriver.instance': '3', 'hakuriver.node': workspace.hostname, 'hakuriver.environment': 'test-env', 'hakuriver.version': '1700000000' },
        mounts: [{ source: workspace.paths.data, target: '/shared', readOnly: false }, { source: workspace.localTempDir, target: '/local_temp', readOnly: false }, { source: root, target: '/data', readOnly: true }],
        user: '7:8', workdir: '/work', network: 'none', privileged: true,
        cpus: '2-3', memoryNodes: '1', memoryBytes: 1e9, pidsLimit: 32_768,
        devices: { driver: 'nvidia', ids: ['GPU-a', 'GPU-d'] },
        logs: 'lossless', logBytes: 64_000,
      },
    ])
  } finally {
    await tasks.close()
    await workspace.remove()
  }
})

describe('CPUs', () => {
  const numaNodes: NumaNode[] = [{ id: 0, cpus: '0-3', cores: 4, memoryBytes: 1 }, { id: 1, cpus: '4-7', cores: 4, memoryBytes: 1 }]
  let state: RunnerState
  beforeEach(async () => {
    state = await openRunnerState(join(root, 'runner.db'))
  })
  afterEach(() => state.close())

  const allocator = (mode: CpuOptions['mode'] = 'cpuset') => createCpuAllocator({ mode, state, numaNodes, cpus: [0, 1, 2, 3, 4, 5, 6, 7] })
  async function take(cores: number, numaNode: number | null = null): Promise<ReturnType<typeof createRecord>> {
    const record = createRecord('starting', { cores, numaNode })
    await state.save(record)
    await allocator().take(record)
    return record
  }

  it('are a share of all, unless said otherwise', async () => {
    const record = createRecord('starting', { cores: 3 })
    await allocator('quota').take(record)
    expect(allocator('quota').limits(record)).toEqual({ cores: 3 })
    const bound = createRecord('starting', { cores: 3, numaNode: 1 })
    expect(allocator('quota').limits(bound)).toEqual({ cores: 3, cpus: '4-7', memoryNodes: '1' })
  })

  it('are never given twice, and stay together', async () => {
    const records = [await take(3), await take(2), await take(1), await take(2)]
    expect(records.map(({ cpus }) => cpus)).toEqual(['0-2', '4-5', '3', '6-7'])
    expect(allocator().limits(records[0] as (typeof records)[0])).toEqual({ cpus: '0-2' })
    expect((await take(1)).cpus).toBeNull()
  })

  it('come back with the end', async () => {
    const [first] = [await take(4), await take(4)]
    first.report.state = 'succeeded'
    expect((await take(2)).cpus).toBe('0-1')
  })

  it('are those of the NUMA node that was asked for', async () => {
    expect((await take(2, 1)).cpus).toBe('4-5')
    const second = await take(2, 1)
    expect(allocator().limits(second)).toEqual({ cpus: '6-7', memoryNodes: '1' })
    expect((await take(1, 1)).cpus).toBeNull()
    await expect(take(1, 9)).rejects.toThrow('no NUMA node 9')
  })

  it('are not given to who asks for none, and a second time not anew', async () => {
    expect((await take(0)).cpus).toBeNull()
    const record = await take(2)
    const before = record.cpus
    await allocator().take(record)
    expect(record.cpus).toBe(before)
  })

  it('are known after a restart', async () => {
    await take(8)
    await state.close()
    state = await openRunnerState(join(root, 'runner.db'))
    expect((await take(1)).cpus).toBeNull()
  })
})

describe('items', () => {
  const RUNTIME = { mounts: [], command: ['node', 'agent'] }
  const item = (change = {}) => createOrder('', ['true'], { pack: 'batch', ...change })

  it('share a container if they can', () => {
    expect(warmName(item(), 'node', RUNTIME)).toBe(warmName(item({ command: ['false'], env: { A: 'b' } }), 'node', RUNTIME))
    expect(warmName(item(), 'node', RUNTIME)).toMatch(/^hakuriver-pack-batch-[0-9a-f]{12}$/)
  })

  it.each([{ gpus: GPUS }, { numaNode: 0 }, { privileged: true }, { mounts: ['/a:/b'] }, { userMounts: ['/a:/b'] }, { pack: 'other' }, { user: '1' }])('with %o have another', (change) => {
    expect(warmName(item(change), 'node', RUNTIME)).not.toBe(warmName(item(), 'node', RUNTIME))
  })

  it('get another when the agent is another', () => {
    expect(warmName(item(), 'node', RUNTIME)).not.toBe(warmName(item(), 'node', { ...RUNTIME, command: ['node', 'agent', 'new'] }))
  })

  it('of two nodes on one Engine have another', () => {
    expect(warmName(item(), 'node', RUNTIME)).not.toBe(warmName(item(), 'other', RUNTIME))
  })
})
