import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { askEngine, importImage } from '../../build/engine-api.mjs'
import { provideDebianArchive } from '../../build/images.mjs'
import { startTestEngine, type TestEngine, whyNoEngines } from '#test/engines/engine.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { whyNoS3Server } from '#test/support/s3-server.ts'
import { type S3Storage, startS3Storage } from '#test/support/s3-storage.ts'
import { openTerminal } from '#test/support/terminal.ts'

const missing = whyNoEngines()
if (missing) console.log(`the workflow on real Engines is skipped: ${missing}`)

const noS3 = missing ?? (await whyNoS3Server())

const BASE = 'debian:bookworm-test'

describe.skipIf(missing).each(noS3 ? (['directory'] as const) : (['directory', 'S3'] as const))('the example workflow of the guide, tarballs in %s', (storage) => {
  const engines: TestEngine[] = []
  let cluster: Cluster
  let s3: S3Storage | undefined

  /** Names of everything on the storage of the tarballs. */
  const stored = () => (s3 ? s3.bucket.names() : readdirSync(join(cluster.sharedDir, 'hakuriver-containers')))

  beforeAll(async () => {
    const archive = await provideDebianArchive()
    const host = await startTestEngine()
    engines.push(host)
    const node = await startTestEngine()
    engines.push(node)
    await importImage(host.socketPath, createReadStream(archive), BASE)
    if (storage === 'S3') s3 = await startS3Storage()
    // nodeA has an Engine of its own, nodeB shares the Host's.
    cluster = await startCluster({ hostSocket: host.socketPath, nodes: { nodeA: node.socketPath, nodeB: host.socketPath }, ...s3?.cluster })
    mkdirSync(join(cluster.sharedDir, 'shared_data'), { recursive: true })
    writeFileSync(join(cluster.sharedDir, 'shared_data', 'analyze_data.sh'), 'hello --greeting="only the packaged environment says this"\n')
  }, 240_000)
  afterAll(async () => {
    await cluster?.stop()
    for (const engine of engines) await engine.stop()
    await s3?.close()
  }, 60_000)

  const run = async (command: string, ...args: string[]) => {
    const finished = await cluster.run(command, args)
    return { ...finished, output: finished.stdout + finished.stderr }
  }

  async function images(): Promise<string[]> {
    const list = (await askEngine(engines[0]?.socketPath ?? '', 'GET', '/images/json')) as { RepoTags: string[] | null }[]
    return list.flatMap(({ RepoTags }) => RepoTags ?? [])
  }

  it('1. creates a base container', async () => {
    expect(await run('hakuriver.docker', 'create-container', BASE, 'python-data-science')).toMatchObject({ code: 0 })
    const { stdout } = await run('hakuriver.docker', 'list-containers', '--json')
    expect(JSON.parse(stdout)).toMatchObject([{ name: 'python-data-science', image: BASE, status: 'running' }])
  })

  it('2. installs in an interactive shell', async () => {
    const terminal = openTerminal('hakuriver.docker-shell', ['python-data-science'], cluster.env)
    await terminal.shows('root@python-data-science')
    terminal.type('apt-get update && apt-get install -y hello; echo installed=$?\r')
    await terminal.shows('installed=0')
    terminal.type('echo ärger > /root/€; tty; stty size\r')
    await terminal.shows('/dev/pts/')
    await terminal.shows('30 100')
    terminal.resize(120, 40)
    // The change of size goes its own way: the shell waits for it.
    terminal.type('until stty size | grep -q "40 1"20; do sleep 0.1; done; echo "re"sized\r')
    await terminal.shows('resized')
    terminal.type('exit 4\r')
    expect(await terminal.exited).toBe(4)
  }, 240_000)

  it('3. packages the environment', async () => {
    expect(await run('hakuriver.docker', 'create-tar', 'python-data-science')).toMatchObject({ code: 0 })
    const [container] = JSON.parse((await run('hakuriver.docker', 'list-containers', '--json')).stdout) as { status: string }[]
    expect(container?.status).toBe('running')
    expect((await images()).filter((tag) => tag.startsWith('hakuriver/'))).toEqual([])
  }, 120_000)

  it.each(['nodeA', 'nodeB'])('4. runs a task in it on %s', async (node) => {
    const finished = await run('hakuriver.task', 'submit', '--target', node, '--container', 'python-data-science', '--wait', '--', 'sh', '/shared/analyze_data.sh')
    expect(finished).toMatchObject({ code: 0, stdout: 'only the packaged environment says this\n' })
  }, 120_000)

  it('an update reaches the next task on each node, and takes the place of the version before', async () => {
    const first = JSON.parse((await run('hakuriver.docker', 'list-tars', '--json')).stdout) as { latest: { version: number } }[]
    expect((await cluster.run('hakuriver.docker-shell', ['python-data-science'], { input: 'echo updated > /etc/proof\n' })).code).toBe(0)
    expect((await run('hakuriver.docker', 'create-tar', 'python-data-science')).code).toBe(0)
    for (const node of ['nodeA', 'nodeB']) {
      const finished = await run('hakuriver.task', 'submit', '--target', node, '--container', 'python-data-science', '--wait', '--', 'cat', '/etc/proof')
      expect(finished).toMatchObject({ code: 0, stdout: 'updated\n' })
    }
    const second = JSON.parse((await run('hakuriver.docker', 'list-tars', '--json')).stdout) as { latest: { version: number }; older: unknown[] }[]
    expect(second).toHaveLength(1)
    expect(second[0]?.older).toEqual([])
    expect(second[0]?.latest.version).toBeGreaterThan(first[0]?.latest.version ?? 0)
    expect(await stored()).toHaveLength(2)
  }, 240_000)

  it('arguments, environment and exit code go through untouched', async () => {
    const words = ["a'b", '$(touch /shared/injected)', '', 'line\nbreak', '--wait', 'ünï']
    const finished = await run('hakuriver.task', 'submit', '--container', 'python-data-science', '--env', 'X=a b=c', '--wait', '--', 'sh', '-c', 'printf "<%s>" "$X" "$@"; exit 9', 'sh', ...words)
    expect(finished).toMatchObject({ code: 9, stdout: ['a b=c', ...words].map((word) => `<${word}>`).join('') })
    expect(readdirSync(join(cluster.sharedDir, 'shared_data'))).toEqual(['analyze_data.sh'])
  }, 60_000)

  it.each([
    [['hakuriver.task', 'submit', '--target', 'ghost', '--container', 'python-data-science', '--', 'true'], 3, 'ghost'],
    [['hakuriver.task', 'submit', '--container', 'no-version', '--', 'true'], 3, 'create-tar'],
    [['hakuriver.task', 'submit', '--container', 'python-data-science', '--memory', '3X', '--', 'true'], 2, '3X'],
    [['hakuriver.docker', 'create-container', BASE, 'python-data-science'], 1, 'already has a container'],
    [['hakuriver.docker', 'create-container', 'localhost:1/none:x', 'other-env'], 1, 'localhost:1/none:x'],
    [['hakuriver.docker', 'create-tar', 'other-env'], 3, 'other-env'],
    [['hakuriver.docker', 'delete-container', 'My_Env'], 2, 'not a valid environment name'],
    [['hakuriver.docker-shell', 'other-env'], 3, 'other-env'],
    [['hakuriver.task', 'status', '0'], 3, 'no task'],
    [['hakuriver.docker', 'list-tars', '--nope'], 2, '--nope'],
  ])('%j fails with exit code %i', async ([command = '', ...args], code, text) => {
    const finished = await run(command, ...args)
    expect(finished.code, finished.output).toBe(code)
    expect(finished.stderr).toContain(text)
    expect(finished.stdout).toBe('')
  })
})
