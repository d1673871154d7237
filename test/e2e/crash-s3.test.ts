import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Environment } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { whyNoS3Server } from '#test/support/s3-server.ts'
import { type S3Storage, startS3Storage } from '#test/support/s3-storage.ts'
import { createRandom } from '#simulator/random.ts'

const missing = engineMissing ?? (await whyNoS3Server())

describe.skipIf(missing)('a Host with tarballs in S3 that is killed at 10 random moments of create-tar', () => {
  const name = `crash-${createId().slice(-8)}`
  let storage: S3Storage
  let cluster: Cluster

  beforeAll(async () => {
    await ensureBusybox(socketPath)
    storage = await startS3Storage()
    cluster = await startCluster({ hostSocket: socketPath, nodes: { [name]: socketPath }, ...storage.cluster })
    await ok('hakuriver.docker', 'create-container', 'busybox:latest', name)
    await shell('head -c 30000000 /dev/urandom > /ballast')
    await ok('hakuriver.docker', 'create-tar', name)
  }, 120_000)
  afterAll(async () => {
    await cluster?.client.call('deleteContainer', { params: { name } })
    await cluster?.stop()
    await storage?.close()
    await testEngine().removeImage(`hakuriver/${name}:base`)
  }, 60_000)

  async function ok(command: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.run(command, args)
    expect(code, stderr).toBe(0)
    return stdout
  }
  async function shell(script: string): Promise<void> {
    expect((await cluster.run('hakuriver.docker-shell', [name], { input: `${script}\n` })).code).toBe(0)
  }

  it('shows whole versions only, leaves neither objects nor uploads, and its newest version runs', async () => {
    const random = createRandom(9)
    const started = Date.now()
    await shell('head -c 20000000 /dev/urandom > /change')
    await ok('hakuriver.docker', 'create-tar', name)
    const duration = Date.now() - started
    for (let round = 0; round < 10; round += 1) {
      await shell('head -c 20000000 /dev/urandom > /change')
      await cluster.client.call('createVersion', { params: { name }, body: { keep: 2 } })
      // A moment is a moment: there is no event to wait for.
      await delay(random.below(duration))
      await cluster.host.stop('SIGKILL')
      await cluster.startHost()
      const [environment] = JSON.parse(await ok('hakuriver.docker', 'list-tars', '--json')) as Environment[]
      const versions = [environment?.latest, ...(environment?.older ?? [])].flatMap((version) => version ?? [])
      expect((await storage.bucket.names()).toSorted(), `round ${round}`).toEqual(versions.flatMap(({ version }) => [`${name}-${version}.json`, `${name}-${version}.tar`]).toSorted())
      expect(await storage.bucket.uploads(), `round ${round}`).toEqual([])
      expect((await cluster.client.call('getContainer', { params: { name } })).status, `round ${round}`).toBe('running')
    }
    expect(await ok('hakuriver.task', 'submit', '--container', name, '--wait', '--', 'sh', '-c', 'wc -c < /ballast')).toBe('30000000\n')
  }, 300_000)
})
