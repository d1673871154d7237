import { describe, expect, it } from 'vitest'
import type { HostApi } from '#core/api/host.ts'
import type { Node } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { usePrograms } from './support/programs.ts'
import { gpu, node } from './support/samples.ts'
import { startStubHost, type StubAnswer } from './support/stub-host.ts'

const programs = usePrograms()
const lines = (text: string) => text.trimEnd().split('\n').map((line) => line.split(/ {2,}/))
const HEADER = ['NODE', 'STATE', 'TASKS', 'CORES', 'MEMORY', 'GPUS', 'CPU', 'ENGINE', 'LAST HEARTBEAT']
const drained: Node = { ...node, hostname: 'node2', state: 'offline', drained: { since: node.lastHeartbeat, reason: 'new disk\u001B[2J' }, tasks: 3, gpus: [gpu, { ...gpu, id: 1, numaNode: null }], gpusReserved: [1], numaNodes: [{ id: 0, cpus: '0-3', cores: 4, memoryBytes: 8e9 }], plainProcesses: true }

async function run(answers: Partial<Record<keyof HostApi, StubAnswer>>, ...argv: string[]) {
  const host = await startStubHost({ answers })
  return { host, ...(await programs.run('hakuriver.client', argv, { env: { ...host.env, TZ: 'UTC' } })) }
}

const unknown = (hostname: string | undefined) => {
  throw new HakuError('node.not_found', `There is no node ${hostname}.`)
}

describe('client nodes', () => {
  const answers = { listNodes: () => ({ items: [node, drained] }) }

  it('shows what is reserved of what there is', async () => {
    const { code, stdout } = await run(answers, 'nodes')
    expect(code).toBe(0)
    expect(lines(stdout)).toEqual([
      HEADER,
      ['node1', 'online', '0', '2/8', '1.00 GB/16.0 GB', '-', '12%', '28.0.0', '2026-02-03 04:05:06+00:00'],
      ['node2', 'offline, drained', '3', '2/8', '1.00 GB/16.0 GB', '1/2', '12%', '28.0.0', '2026-02-03 04:05:06+00:00'],
    ])
  })

  it('--json is as the API has them', async () => {
    expect(JSON.parse((await run(answers, 'nodes', '--json')).stdout)).toEqual([node, drained])
  })
})

describe('client node', () => {
  it('shows all about it', async () => {
    const { code, stdout } = await run({ getNode: () => drained }, 'node', 'node2')
    expect(code).toBe(0)
    for (const line of ['State:       offline, drained', String.raw`Drained:     since 2026-02-03 04:05:06+00:00: new disk\u001b[2J`, 'Cores:       2 of 8 reserved', 'Processes:   takes tasks without a container', 'Versions:    my-env@1700000000']) expect(stdout).toContain(`${line}\n`)
    expect(lines(stdout)).toContainEqual(['0', 'NVIDIA H100', '80.0 GB', '0', 'free'])
    expect(lines(stdout)).toContainEqual(['1', 'NVIDIA H100', '80.0 GB', '-', 'reserved'])
    expect(lines(stdout)).toContainEqual(['0', '0-3', '4', '8.00 GB'])
  })

  it('tells of those that there are not, and shows the others', async () => {
    const { code, stdout, stderr } = await run({ getNode: ({ params }) => (params['hostname'] === 'node1' ? node : unknown(params['hostname'])) }, 'node', 'node9', 'node1', '--json')
    expect(code).toBe(3)
    expect(JSON.parse(stdout)).toEqual([node])
    expect(JSON.parse(stderr)).toMatchObject({ code: 'node.not_found' })
  })
})

describe('changing nodes', () => {
  it('drain sends the reason and shows them', async () => {
    const { host, code, stdout } = await run({ drainNode: ({ params }) => ({ ...drained, hostname: params['hostname'] }) }, 'drain', 'node1', 'node2', '--reason', 'new disk')
    expect(code).toBe(0)
    expect(host.requests).toEqual(['node1', 'node2'].map((hostname) => ({ id: 'drainNode', params: { hostname }, body: { reason: 'new disk' } })))
    expect(lines(stdout).map(([name, state]) => `${name} ${state}`)).toEqual(['NODE STATE', 'node1 offline, drained', 'node2 offline, drained'])
  })

  it('drain without a reason leaves the one that there is', async () => {
    const { host } = await run({ drainNode: () => drained }, 'drain', 'node2')
    expect(host.requests).toEqual([{ id: 'drainNode', params: { hostname: 'node2' }, body: {} }])
  })

  it('undrain', async () => {
    const { host, code, stdout } = await run({ undrainNode: () => node }, 'undrain', 'node1')
    expect(code).toBe(0)
    expect(host.requests).toMatchObject([{ id: 'undrainNode', params: { hostname: 'node1' } }])
    expect(lines(stdout)[1]?.slice(0, 2)).toEqual(['node1', 'online'])
  })

  it('remove tries all, and ends as the worst', async () => {
    const answers: Partial<Record<keyof HostApi, StubAnswer>> = {
      removeNode({ params }) {
        if (params['hostname'] === 'node1') throw new HakuError('node.online', 'The node node1 is online. Stop its Runner first.')
      },
    }
    const { code, stdout, stderr } = await run(answers, 'remove', 'node1', 'node2')
    expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: 'node2 Removed\n', stderr: 'hakuriver client: The node node1 is online. Stop its Runner first.\n' })
  })
})
