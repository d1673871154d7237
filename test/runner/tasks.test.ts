import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import type { ImageDetails } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

describe.skipIf(engineMissing !== undefined)('tasks on a Runner', () => {
  const engine = testEngine()
  let host: StubHost
  let workspace: Workspace
  let runner: RunnerProcess
  let image: ImageDetails

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    workspace = await createWorkspace(engine)
    host = await startStubHost()
    runner = await startRunner(workspace, host)
  })
  afterAll(async () => {
    await runner?.stop()
    await host?.stop()
    await workspace?.remove()
  })

  async function runToEnd(command: string[], change: Partial<TaskOrder> = {}): Promise<TaskReport> {
    const order = createOrder(image.id, command, change)
    expect(await runner.put(order)).toMatchObject({ id: order.id, sequence: 1 })
    return host.untilFinal(order.id)
  }

  async function startTask(command: string[], change: Partial<TaskOrder> = {}): Promise<string> {
    const order = createOrder(image.id, command, change)
    await runner.put(order)
    await host.untilState(order.id, 'running')
    return order.id
  }

  it('hands over argv untouched', async () => {
    const args = ['', ' ', 'a b', `'"\`$(touch /x)$HOME`, '\n\t', '-n', '--help', '*', '\\', 'ünïcødé 🚀', ';&|<>#!']
    const report = await runToEnd(['sh', '-c', 'for a in "$@"; do printf "<%s>" "$a"; done', 'sh', ...args])
    expect(report).toMatchObject({ state: 'succeeded', reason: null, exitCode: 0 })
    expect(await workspace.stdout(report.id)).toBe(args.map((argument) => `<${argument}>`).join(''))
  })

  it('sets the environment and the working directory', async () => {
    const report = await runToEnd(['sh', '-c', 'printf "%s\\n" "$A" "$HAKURIVER_TASK_ID" "$HAKURIVER_NODE" "$HAKURIVER_ENVIRONMENT" "$PWD"'], { env: { A: ' x=\n"y" ' } })
    expect(await workspace.stdout(report.id)).toBe(` x=\n"y" \n${report.id}\n${workspace.hostname}\ntest-env\n/shared\n`)
  })

  it('mounts the shared data, the local directory and what was asked for', async () => {
    const source = join(workspace.root, 'data')
    await mkdir(source)
    await writeFile(join(source, 'file'), 'from the node\n')
    const report = await runToEnd(['sh', '-c', 'cat /data/file; echo a > /shared/a; echo b > /local_temp/b; echo c > /data/c'], { mounts: [`${source}:/data:ro`] })
    expect(report).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 1 })
    expect(await workspace.stdout(report.id)).toBe('from the node\n')
    expect(await workspace.stderr(report.id)).toMatch(/read-only/i)
  })

  it('keeps both outputs byte for byte, and tells their sizes', async () => {
    const report = await runToEnd(['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" "\\377"; printf "\\000\\001\\200" >&2'])
    expect(report).toMatchObject({ state: 'succeeded', stdoutBytes: 3_000_000, stderrBytes: 3 })
    expect((await readFile(workspace.paths.stdout(report.id, 1))).equals(Buffer.alloc(3_000_000, 0xff))).toBe(true)
    expect([...(await readFile(workspace.paths.stderr(report.id, 1)))]).toEqual([0, 1, 128])
  })

  it('makes empty output files for a task that prints nothing', async () => {
    const report = await runToEnd(['true'])
    expect(report).toMatchObject({ stdoutBytes: 0, stderrBytes: 0 })
    expect([await workspace.stdout(report.id), await workspace.stderr(report.id)]).toEqual(['', ''])
  })

  it.each([[1], [42], [255]])('reports exit code %i', async (exitCode) => {
    expect(await runToEnd(['sh', '-c', `exit ${exitCode}`])).toMatchObject({ state: 'failed', reason: 'exited', exitCode })
  })

  it.each([
    ['no-such-command', 127],
    ['/no/such/path', 127],
    ['/etc', 126],
  ])('tells that %s can not be run', async (command, exitCode) => {
    const report = await runToEnd([command, 'x'])
    expect(report).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode })
    expect(report.message).toContain(command)
  })

  it('tells of a word that the kernel does not take', async () => {
    const report = await runToEnd(['echo', 'x'.repeat(131_072)])
    expect(report).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode: 126 })
    expect(report.message).toContain('longer than the kernel takes')
  })

  it('does not take a command that says so for one that could not be run', async () => {
    expect(await runToEnd(['sh', '-c', 'echo "tar: exec x: argument list too long" >&2; exit 1'])).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 1 })
  })

  it('does not take a shell that misses a command for a missing command', async () => {
    expect(await runToEnd(['sh', '-c', 'no-such-command'])).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 127 })
  })

  it('lets every user write where tasks begin', async () => {
    const report = await runToEnd(['sh', '-c', 'touch /shared/by-user /local_temp/by-user; stat -c %a /shared /local_temp'], { user: '1000:1000' })
    expect(report).toMatchObject({ state: 'succeeded' })
    expect(await workspace.stdout(report.id)).toBe('1777\n1777\n')
  })

  it('mounts what a user asks for where it leads, if that is allowed', async () => {
    const allowed = join(workspace.root, 'allowed')
    await mkdir(join(allowed, 'inside'), { recursive: true })
    await symlink('inside', join(allowed, 'link'))
    await symlink('/etc', join(allowed, 'out'))
    await writeFile(join(allowed, 'inside', 'file'), 'from inside\n')
    const mounting = (source: string) => runToEnd(['cat', '/data/file'], { userMounts: [`${source}:/data`], allowedMounts: [allowed] })
    const { id, state } = await mounting(join(allowed, 'link'))
    expect([state, await workspace.stdout(id)]).toEqual(['succeeded', 'from inside\n'])
    expect(await mounting(join(allowed, 'out'))).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringMatching(/out", which leads to "\/etc", may not be mounted\. Mounts may be below .*allowed_mounts/) })
    expect(await mounting('/etc')).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringContaining('"/etc" may not be mounted') })
    expect(await mounting(join(allowed, 'none'))).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringContaining('not there on this node') })
  })

  it('tells which mount is missing', async () => {
    const report = await runToEnd(['true'], { mounts: ['/no/such/directory:/data'] })
    expect(report).toMatchObject({ state: 'failed', reason: 'start_failed', exitCode: null })
    expect(report.message).toContain('/no/such/directory')
  })

  it('tells when the memory limit ended a task', async () => {
    const report = await runToEnd(['sh', '-c', 'head -c 300m /dev/zero | tail'], { memoryBytes: 16 * 1024 * 1024 })
    expect(report).toMatchObject({ state: 'out_of_memory', reason: 'memory_limit' })
  })

  it('starts a doubled order once', async () => {
    const order = createOrder(image.id, ['sh', '-c', 'echo once'])
    await Promise.all([runner.put(order), runner.put(order), runner.put(order)])
    await host.untilFinal(order.id)
    expect(await runner.put(order)).toMatchObject({ state: 'succeeded', exitCode: 0 })
    expect(await workspace.stdout(order.id)).toBe('once\n')
  })

  it('kills a running task, once', async () => {
    const id = await startTask(['sh', '-c', 'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done'])
    const answers = await Promise.all([runner.client.call('killTask', { params: { id }, body: { instance: 1 } }), runner.client.call('killTask', { params: { id }, body: { instance: 1 } })])
    expect(answers.map((answer) => answer.id)).toEqual([id, id])
    expect(await host.untilFinal(id)).toMatchObject({ state: 'killed', reason: 'user', exitCode: 3 })
    expect(await workspace.stdout(id)).toBe('up\nbye\n')
    expect(await runner.client.call('killTask', { params: { id }, body: { instance: 1 } })).toMatchObject({ state: 'killed' })
  })

  it('pauses and resumes, and refuses both in other states', async () => {
    const id = await startTask(['sh', '-c', 'while ! [ -e /shared/go ]; do sleep 0.05; done; echo gone'])
    const freeze = (action: 'pauseTask' | 'resumeTask') => runner.client.call(action, { params: { id }, body: { instance: 1 } })
    await expect(freeze('resumeTask')).rejects.toMatchObject({ code: 'task.state' })
    expect(await freeze('pauseTask')).toMatchObject({ state: 'paused' })
    await expect(freeze('pauseTask')).rejects.toMatchObject({ code: 'task.state' })
    expect(await freeze('resumeTask')).toMatchObject({ state: 'running' })
    await writeFile(join(workspace.paths.data, 'go'), '')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded' })
    await expect(freeze('pauseTask')).rejects.toMatchObject({ code: 'task.state' })
  })

  it('kills a paused task', async () => {
    const id = await startTask(['sleep', '600'])
    await runner.client.call('pauseTask', { params: { id }, body: { instance: 1 } })
    await runner.client.call('killTask', { params: { id }, body: { instance: 1 } })
    expect(await host.untilFinal(id)).toMatchObject({ state: 'killed', reason: 'user' })
  })

  it('refuses what it does not know', async () => {
    const params = { id: createId() }
    for (const action of ['killTask', 'pauseTask', 'resumeTask'] as const) {
      await expect(runner.client.call(action, { params, body: { instance: 1 } })).rejects.toMatchObject({ code: 'task.not_found' })
    }
    const order = createOrder(image.id, ['true'])
    await expect(runner.client.call('putTask', { params, body: order })).rejects.toMatchObject({ code: 'request.invalid' })
  })

  it('removes the container once the end is acknowledged', async () => {
    host.knobs.acknowledges = false
    const report = await runToEnd(['true'])
    expect([...(await workspace.containers()).keys()]).toContain(report.id)
    host.knobs.acknowledges = true
    // Another end makes the Runner report both again.
    await runToEnd(['true'])
    await expect.poll(async () => [...(await workspace.containers()).keys()]).not.toContain(report.id)
    expect(await runner.put(createOrder(image.id, ['true'], { id: report.id }))).toMatchObject({ state: 'succeeded' })
  })

  it('runs eight at once', async () => {
    const reports = await Promise.all(Array.from({ length: 8 }, (_, index) => runToEnd(['sh', '-c', `echo ${index}`])))
    expect(reports.map(({ state }) => state)).toEqual(Array(8).fill('succeeded'))
    expect(await Promise.all(reports.map(({ id }) => workspace.stdout(id)))).toEqual(reports.map((_, index) => `${index}\n`))
  })
})
