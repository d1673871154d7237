import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Task, Version, VersionDiff } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { labels } from '#core/paths.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'

// One environment through all that can be done with its versions, as a user does it: one story, in order.
describe.skipIf(engineMissing)('the versions of an environment', () => {
  const engine = testEngine()
  const name = `story-${createId().slice(-8)}`
  const gpu = `${name}-gpu`
  let cluster: Cluster
  const at: number[] = []

  beforeAll(async () => {
    await ensureBusybox(socketPath)
    cluster = await startCluster({ hostSocket: socketPath, nodes: { [name]: socketPath }, config: { docker: { keep_versions: 5 } } })
  }, 120_000)
  afterAll(async () => {
    for (const container of [name, gpu]) await cluster?.client.call('deleteContainer', { params: { name: container } }).catch(() => undefined)
    await cluster?.stop()
    for (const { id, labels: found } of await engine.listImages()) if (found[labels.environment]?.startsWith(name)) await engine.removeImage(id)
  }, 60_000)

  async function run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.run('hakuriver', args)
    expect(code, `${args.join(' ')}: ${stderr}`).toBe(0)
    return stdout
  }
  async function refused(...args: string[]): Promise<string> {
    const { code, stderr } = await cluster.run('hakuriver', args)
    expect(code, stderr).toBe(1)
    return stderr
  }
  const json = async <T>(...args: string[]) => JSON.parse(await run(...args, '--json')) as T
  const shell = async (container: string, script: string) => expect((await cluster.run('hakuriver.docker-shell', [container], { input: script })).code).toBe(0)
  const log = () => json<Version[]>('env', 'log', name)
  const inTask = (reference: string, ...command: string[]) => run('task', 'submit', '--container', reference, '--wait', '--', ...command)
  const files = (environment = name) => readdirSync(join(cluster.sharedDir, 'hakuriver-containers')).filter((file) => new RegExp(`^${environment}-\\d+\\.tar$`).test(file))

  it('are made, with who made them and what is new', async () => {
    await run('docker', 'create-container', 'busybox:latest', name)
    await run('docker', 'create-container', 'busybox:latest', gpu)
    await run('docker', 'create-tar', gpu)
    for (const number of [1, 2]) {
      await shell(name, `echo ${number} > /number; head -c 100000 /dev/urandom > /only${number}\n`)
      at[number] = (await json<Version>('docker', 'create-tar', name, '-m', `number ${number}`)).version
    }
    expect(await log()).toMatchObject([{ version: at[2], note: 'number 2', current: true, author: expect.stringMatching(/./) }, { version: at[1], note: 'number 1', current: false }])
    expect(await run('env', 'list')).toContain(`${at[2]}`)
  })

  it('are run by their number', async () => {
    expect([await inTask(name, 'cat', '/number'), await inTask(`${name}@${at[1]}`, 'cat', '/number')]).toEqual(['2\n', '1\n'])
    await expect.poll(async () => (await log()).map(({ nodes }) => nodes), { timeout: 30_000, interval: 500 }).toContainEqual([name])
  })

  it('are compared', async () => {
    const diff = await json<VersionDiff>('env', 'diff', name)
    expect(diff).toMatchObject({ from: at[1], to: at[2], totals: { deleted: { files: 0 } } })
    expect(diff.files.filter(({ path }) => /number|only/.test(path))).toEqual([{ path: 'number', change: 'changed', type: 'file', before: 2, after: 2 }, { path: 'only2', change: 'added', type: 'file', before: null, after: 100_000 }])
  })

  it('are gone back to, without a byte more for the node', async () => {
    const restored = await json<Version>('env', 'rollback', name, String(at[1]), '-m', 'two was wrong')
    expect(restored).toMatchObject({ restores: at[1], newBytes: 0, current: true })
    expect(await inTask(name, 'cat', '/number')).toBe('1\n')
    expect(await refused('env', 'rollback', name, String(at[1]))).toContain('that very one')
    at[3] = restored.version
  })

  it('go out to any Engine and come back', async () => {
    const file = join(cluster.directory, 'out.tar')
    await run('env', 'export', `${name}@${at[2]}`, '-o', file)
    expect(statSync(file).size).toBe((await log()).find(({ version }) => version === at[2])?.size)
    execFileSync('docker', ['-H', `unix://${socketPath}`, 'load', '-q', '-i', file], { stdio: 'pipe' })
    expect(String(execFileSync('docker', ['-H', `unix://${socketPath}`, 'run', '--rm', '--net', 'host', `hakuriver/${name}:base`, 'cat', '/number']))).toBe('2\n')
    // What a plain docker save makes of it, as HakuRiver 0.3 did.
    execFileSync('sh', ['-c', `docker -H unix://${socketPath} save hakuriver/${name}:base | gzip -1 > ${file}.gz`])
    const imported = await json<Version & { warnings: string[] }>('env', 'import', `${file}.gz`, '--name', name, '-m', 'back again')
    expect(imported).toMatchObject({ note: 'back again', current: true, newBytes: 0, warnings: [] })
    expect(await inTask(name, 'cat', '/number')).toBe('2\n')
    expect(await refused('env', 'import', cluster.configFile, '--name', name)).toContain('can not be imported')
    at[4] = imported.version
  })

  it('are tested before anybody gets them', async () => {
    await shell(name, 'echo 5 > /number; touch /broken\n')
    const failed = await refused('docker', 'create-tar', name, '--test', 'echo looking; test ! -e /broken')
    expect(failed).toMatch(/failed: task \w+ ended with code 1/)
    expect(failed).toContain('\nlooking\n')
    expect((await log())[0]).toMatchObject({ version: at[4], current: true })
    const id = /task (\w{26})/.exec(failed)?.[1] ?? ''
    expect(await json<Task>('task', 'status', id)).toMatchObject({ state: 'failed', exitCode: 1, environment: name })
    await shell(name, 'rm /broken\n')
    at[5] = (await json<Version>('docker', 'create-tar', name, '--test', 'test ! -e /broken')).version
    expect(await inTask(name, 'cat', '/number')).toBe('5\n')
  })

  it('outlive their container, and give it back', async () => {
    await run('docker', 'delete-container', name)
    expect(await run('env', 'fork', `${name}@${at[1]}`, name)).toContain('is running')
    const { code, stdout } = await cluster.run('hakuriver.docker-shell', [name], { input: 'cat /number\n' })
    expect({ code, stdout }).toEqual({ code: 0, stdout: '1\n' })
    const again = await json<Version>('docker', 'create-tar', name)
    expect(again.newBytes).toBeLessThan(50_000)
    expect(await inTask(name, 'cat', '/number')).toBe('1\n')
    at[6] = again.version
  })

  it('stay while they are pinned or needed, and go when they are not', async () => {
    await run('env', 'pin', `${name}@${at[2]}`)
    expect(await refused('env', 'delete', `${name}@${at[2]}`, '--yes')).toContain('is pinned')
    const plan = await run('env', 'delete', name, '--dry-run')
    expect(plan).toContain('would be refused')
    await run('env', 'unpin', `${name}@${at[2]}`)
    const before = files()
    expect(await run('env', 'delete', `${name}@${at[2]}`, '--yes')).toContain(`Deleted ${at[2]}`)
    expect(files()).toEqual(before.filter((file) => file !== `${name}-${at[2]}.tar`))
    await run('env', 'delete', name, '--yes')
    expect([files(), files(gpu).length]).toEqual([[], 1])
    // The container is still there, and the next version begins anew.
    expect((await cluster.run('hakuriver.docker-shell', [name], { input: 'cat /number\n' })).stdout).toBe('1\n')
    await run('docker', 'create-tar', name)
    expect(existsSync(join(cluster.sharedDir, 'hakuriver-containers', files()[0] ?? ''))).toBe(true)
  })
})
