import { mkdirSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SubmitPreview, Task, Version, VersionDetails } from '#core/api/schemas.ts'
import { startTestEngine, type TestEngine, whyNoEngines } from '#test/engines/engine.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'

const missing = whyNoEngines()
if (missing) console.log(`distribution on real Engines is skipped: ${missing}`)

describe.skipIf(missing)('distribution of versions to nodes', () => {
  const engines: TestEngine[] = []
  let cluster: Cluster

  beforeAll(async () => {
    for (let count = 0; count < 2; count++) engines.push(await startTestEngine())
    const [host = '', node = ''] = engines.map(({ socketPath }) => socketPath)
    await ensureBusybox(host)
    // `near` shares the Host's Engine and so has the base image; `far` has nothing.
    cluster = await startCluster({ hostSocket: host, nodes: { near: host, far: node }, config: { timing: { heartbeat_interval: 0.3 }, docker: { keep_versions: 3 } } })
    expect(await run('hakuriver.docker', 'create-container', 'busybox:latest', 'my-env')).toMatchObject({ code: 0 })
    await shell('dd if=/dev/urandom of=/first bs=1M count=3')
    expect(await run('hakuriver.docker', 'create-tar', 'my-env')).toMatchObject({ code: 0 })
  }, 180_000)
  afterAll(async () => {
    await cluster?.stop()
    for (const engine of engines) await engine.stop()
  }, 60_000)

  const run = (command: string, ...args: string[]) => cluster.run(command, args)
  const shell = (input: string) => cluster.run('hakuriver.docker-shell', ['my-env'], { input: `${input}\n` })
  const preview = async (...args: string[]) => JSON.parse((await run('hakuriver.task', 'submit', '--container', 'my-env', '--dry-run', '--json', ...args, '--', 'true')).stdout) as SubmitPreview
  const bytesOf = async (node: string) => (await preview('--target', node)).tasks[0]?.syncBytes ?? -1
  async function current(): Promise<VersionDetails> {
    const { latest } = await cluster.client.call('getEnvironment', { params: { name: 'my-env' } })
    return cluster.client.call('getVersion', { params: { name: 'my-env', version: String(latest.version) } })
  }

  it('a dry run knows what each node would have to read', async () => {
    const { layers } = await current()
    const [base = 0, ...rest] = layers.map(({ size }) => size)
    const change = rest.reduce((sum, size) => sum + size, 0)
    await expect.poll(() => bytesOf('near')).toBe(change)
    expect(await bytesOf('far')).toBe(base + change)
    expect((await cluster.client.call('listTasks', {})).items).toEqual([])
  })

  it('a prefetch brings a version to nodes before a task needs it', async () => {
    const { code, stdout } = await run('hakuriver', 'env', 'prefetch', 'my-env', '--all', '--json')
    expect(code).toBe(0)
    const { version } = JSON.parse(stdout) as Version
    await expect.poll(async () => (await current()).nodes).toEqual(['far', 'near'])
    expect([await bytesOf('near'), await bytesOf('far')]).toEqual([0, 0])
    const { items } = await cluster.client.call('listNodes', {})
    expect(items.map(({ images }) => images)).toEqual([[{ environment: 'my-env', version }], [{ environment: 'my-env', version }]])
    const { stdout: json } = await run('hakuriver.task', 'submit', '--target', 'far', '--container', 'my-env', '--wait', '--json', '--', 'test', '-s', '/first')
    expect(JSON.parse(json)).toMatchObject({ state: 'succeeded', version, sync: null })
    expect(cluster.runners['far']?.log.split('loaded my-env')).toHaveLength(2)
  }, 60_000)

  it('only the change of a new version is read', async () => {
    await shell('dd if=/dev/urandom of=/second bs=1M count=2')
    expect(await run('hakuriver.docker', 'create-tar', 'my-env')).toMatchObject({ code: 0 })
    const { layers } = await current()
    const added = layers.at(-1)?.size ?? 0
    expect(await bytesOf('far')).toBe(added)
    expect(await run('hakuriver.task', 'submit', '--target', 'far', '--container', 'my-env', '--wait', '--', 'test', '-s', '/second')).toMatchObject({ code: 0 })
    expect(cluster.runners['far']?.log).toContain(`in 1 of ${layers.length} layers`)
  }, 60_000)

  it('a damaged version is found by one node and refused by the Host from then on', async () => {
    await shell('dd if=/dev/urandom of=/third bs=1M count=2')
    const { latest: before } = await cluster.client.call('getEnvironment', { params: { name: 'my-env' } })
    expect(await run('hakuriver.docker', 'create-tar', 'my-env')).toMatchObject({ code: 0 })
    const { fileName, version } = await current()
    const manifest = await current()
    const handle = await open(join(cluster.sharedDir, 'hakuriver-containers', fileName), 'r+')
    await handle.write('damage', manifest.size - 500_000)
    await handle.close()
    const { stdout } = await run('hakuriver.task', 'submit', '--target', 'far', '--container', `my-env@${version}`, '--wait', '--json', '--', 'true')
    const failed = JSON.parse(stdout) as Task
    expect(failed).toMatchObject({ state: 'failed', reason: 'sync_failed', message: expect.stringMatching(`${fileName} is damaged: for a layer its manifest says sha256:.*, found sha256:`) })
    const refused = await run('hakuriver.task', 'submit', '--target', 'near', '--container', `my-env@${version}`, '--', 'true')
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(`${fileName} is damaged: .*sha256:`) })
    // What has been there before runs as before.
    expect(await run('hakuriver.task', 'submit', '--target', 'far', '--container', `my-env@${before.version}`, '--wait', '--', 'test', '-s', '/second')).toMatchObject({ code: 0 })
  }, 60_000)

  it('a shared directory that is gone is told by Host and nodes, and comes back', async () => {
    const elsewhere = join(cluster.directory, 'elsewhere')
    renameSync(cluster.sharedDir, elsewhere)
    mkdirSync(join(cluster.sharedDir, 'hakuriver-containers'), { recursive: true })
    try {
      for (const args of [['hakuriver.docker', 'list-tars'], ['hakuriver.task', 'submit', '--container', 'my-env', '--', 'true']] as const) {
        const [command, ...rest] = args
        expect(await run(command, ...rest)).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('mounted') })
      }
      expect(await cluster.client.call('getHealth', {})).toMatchObject({ status: 'degraded', problems: [expect.objectContaining({ code: 'storage.unavailable' })] })
      await cluster.host.stop()
      await expect(cluster.startHost()).rejects.toThrow('is not the one that this Host has used')
    } finally {
      rmSync(cluster.sharedDir, { recursive: true })
      renameSync(elsewhere, cluster.sharedDir)
      await cluster.startHost()
    }
    expect(await run('hakuriver.task', 'submit', '--container', 'my-env', '--wait', '--', 'true')).toMatchObject({ code: 0 })
  }, 60_000)
})
