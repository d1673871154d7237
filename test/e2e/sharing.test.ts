import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { issueTicket } from '#core/tickets.ts'
import { startTestEngine, type TestEngine, whyNoEngines } from '#test/engines/engine.ts'
import { type Cluster, startCluster, untilOnline } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'

const missing = whyNoEngines()
if (missing) console.log(`nodes that give layers to one another are not tested: ${missing}`)

const NODES = ['nodeA', 'nodeB', 'nodeC', 'nodeD']
const NAME = 'shared-env'

describe.skipIf(missing)('nodes that share layers', () => {
  const engines: TestEngine[] = []
  let cluster: Cluster

  beforeAll(async () => {
    for (const _ of NODES) engines.push(await startTestEngine())
    const hostSocket = engines[0]?.socketPath ?? ''
    await ensureBusybox(hostSocket)
    cluster = await startCluster({ hostSocket, nodes: Object.fromEntries(NODES.map((node, index) => [node, engines[index]?.socketPath ?? ''])), config: { runner: { share_layers: true } } })
    await ok('hakuriver.docker', 'create-container', 'busybox:latest', NAME)
    await create()
  }, 240_000)
  afterAll(async () => {
    await cluster?.stop()
    for (const engine of engines) await engine.stop()
  }, 60_000)

  async function ok(command: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.run(command, args)
    expect(code, stderr).toBe(0)
    return stdout
  }
  async function create(): Promise<void> {
    expect((await cluster.run('hakuriver.docker-shell', [NAME], { input: 'head -c 20000000 /dev/urandom > /ballast\n' })).code).toBe(0)
    await ok('hakuriver.docker', 'create-tar', NAME)
  }
  const cacheOf = (node: string) => join(cluster.directory, node, 'layers')
  const log = (node: string) => cluster.runners[node]?.log ?? ''
  const topLayer = async () => {
    const { layers } = JSON.parse(await ok('hakuriver', 'env', 'show', NAME, '--json')) as { layers: { digest: string }[] }
    return layers.at(-1)?.digest ?? ''
  }

  it('read each layer from the storage once, though all want it at the same moment', async () => {
    await ok('hakuriver', 'env', 'prefetch', NAME, '--all')
    const top = await topLayer()
    expect(NODES.filter((node) => log(node).includes(`layer ${top} came from node`))).toHaveLength(NODES.length - 1)
    for (const node of NODES) expect(readdirSync(cacheOf(node))).toContain(top.slice('sha256:'.length))
    for (const node of NODES) expect(await ok('hakuriver.task', 'submit', '--target', node, '--container', NAME, '--wait', '--', 'sh', '-c', 'wc -c < /ballast')).toBe('20000000\n')
  }, 120_000)

  it('give nothing to whoever has no ticket for it', async () => {
    const path = `/api/layers/${encodeURIComponent(await topLayer())}`
    const { items } = await cluster.client.call('listNodes', {})
    const url = items.find(({ hostname }) => hostname === 'nodeB')?.url ?? ''
    const secret = readFileSync(join(cluster.directory, 'nodeB', 'host.token'), 'utf8').trim()
    expect(await statusOf(url, path, issueTicket(secret, path, 60))).toBe(200)
    expect(await statusOf(url, path, issueTicket(secret, path, -1))).toBe(401)
    expect(await statusOf(url, path, issueTicket(secret, `${path}0`, 60))).toBe(401)
    expect(await statusOf(url, path, issueTicket('guessed', path, 60))).toBe(401)
    expect(await statusOf(url, path, secret)).toBe(403)
    expect(await statusOf(url, path, undefined)).toBe(401)
    const unknown = `/api/layers/${encodeURIComponent(`sha256:${'0'.repeat(64)}`)}`
    expect(await statusOf(url, unknown, issueTicket(secret, unknown, 60))).toBe(404)
    expect(await statusOf(url, '/api/tasks/0/kill', issueTicket(secret, '/api/tasks/0/kill', 60), 'POST')).toBe(403)
  })

  it('fall back to the storage where neighbours are damaged or gone', async () => {
    await cluster.runners['nodeD']?.stop('SIGKILL')
    await create()
    await ok('hakuriver', 'env', 'prefetch', NAME, '--nodes', 'nodeA,nodeB,nodeC')
    const file = (await topLayer()).slice('sha256:'.length)
    for (const node of ['nodeA', 'nodeB']) {
      const bytes = readFileSync(join(cacheOf(node), file))
      bytes[5_000_000] = (bytes[5_000_000] ?? 0) ^ 1
      writeFileSync(join(cacheOf(node), file), bytes)
    }
    await cluster.runners['nodeC']?.stop('SIGKILL')
    await cluster.startRunner('nodeD')
    await untilOnline(cluster, ['nodeD'])
    expect(await ok('hakuriver.task', 'submit', '--target', 'nodeD', '--container', NAME, '--wait', '--', 'sh', '-c', 'wc -c < /ballast')).toBe('20000000\n')
    expect(log('nodeD')).toMatch(/node[AB] could not give layer/)
    expect(readdirSync(cacheOf('nodeD')).filter((name) => name.includes('.'))).toEqual([])
    expect(await ok('hakuriver', 'env', 'log', NAME)).not.toContain('damaged')
  }, 120_000)
})

function statusOf(url: string, path: string, token: string | undefined, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    request(`${url}${path}`, { method, headers: { connection: 'close', ...(token !== undefined && { authorization: `Bearer ${token}` }) } }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0)).on('error', reject)
    }).on('error', reject).end()
  })
}
