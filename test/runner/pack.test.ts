import { copyFile, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import type { ContainerSummary, ImageDetails } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { labels } from '#core/paths.ts'
import { readText } from '../conformance/engine-bench.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox, importFolder } from '../support/images.ts'
import { listProcesses } from '#runner/linux/proc.ts'
import { freePort } from '#simulator/free-port.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

describe.skipIf(engineMissing !== undefined)('items that share a container', () => {
  const engine = testEngine()
  let image: ImageDetails
  let host: StubHost
  let workspace: Workspace
  let port: number
  let runner: RunnerProcess
  let batch: string

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    host = await startStubHost()
    port = await freePort()
  })
  afterAll(() => host?.stop())
  beforeEach(async () => {
    batch = createId()
    workspace = await createWorkspace(engine)
    runner = await startRunner(workspace, host, { port })
  })
  afterEach(async () => {
    await runner?.stop()
    await workspace?.remove()
  })

  const createItem = (index: number, command: string[], change: Partial<TaskOrder> = {}) => createOrder(image.id, command, { id: `${batch}.${index}`, pack: batch, ...change })
  const containers = (): Promise<ContainerSummary[]> => engine.listContainers({ [labels.node]: workspace.hostname })

  async function runToEnd(index: number, command: string[], change: Partial<TaskOrder> = {}): Promise<TaskReport> {
    const order = createItem(index, command, change)
    await runner.put(order)
    return host.untilFinal(order.id)
  }

  async function start(index: number, command: string[], change: Partial<TaskOrder> = {}): Promise<string> {
    const order = createItem(index, command, change)
    await runner.put(order)
    await host.untilState(order.id, 'running')
    return order.id
  }

  async function restart(): Promise<void> {
    await runner.kill()
    runner = await startRunner(workspace, host, { port })
  }

  const act = (action: 'killTask' | 'pauseTask' | 'resumeTask', id: string) => runner.client.call(action, { params: { id }, body: { instance: 1 } })
  const letGo = () => writeFile(join(workspace.paths.data, 'go'), '')
  const UNTIL_GO = 'until [ -e /shared/go ]; do sleep 0.05; done'

  it('have outputs and exit codes of their own, and one container', { timeout: 90_000 }, async () => {
    const reports = await Promise.all(Array.from({ length: 8 }, (_, index) => runToEnd(index, ['sh', '-c', 'printf %s "$1"; printf e%s "$1" >&2; exit "$1"', 'sh', String(index)])))
    expect(reports.map(({ state, exitCode, stdoutBytes, stderrBytes }) => [state, exitCode, stdoutBytes, stderrBytes])).toEqual(reports.map((_, index) => [index === 0 ? 'succeeded' : 'failed', index, 1, 2]))
    for (const [index, { id }] of reports.entries()) expect([await workspace.stdout(id), await workspace.stderr(id)]).toEqual([String(index), `e${index}`])
    expect(await containers()).toMatchObject([{ status: 'running', labels: { [labels.pack]: batch } }])
    // It goes by itself when nobody has needed it for some seconds.
    await expect.poll(containers, { timeout: 30_000 }).toEqual([])
  })

  it('have their variables, directory and user', async () => {
    const report = await runToEnd(3, ['sh', '-c', 'echo "$A|$HAKURIVER_TASK_ID|$HAKURIVER_ARRAY_INDEX|$PWD|$(id -u):$(id -g)"'], { env: { A: ' x\ny' }, workdir: '/tmp', user: '1234:567' })
    expect(await workspace.stdout(report.id)).toBe(` x\ny|${report.id}|3|/tmp|1234:567\n`)
  })

  it('get their arguments byte for byte', async () => {
    const args = ['', 'a b', `'"\`$(touch /x)$HOME`, '\n', '-n', '*', '\\', 'ünï 🚀', 'x'.repeat(120_000)]
    const { id } = await runToEnd(1, ['sh', '-c', 'for a in "$@"; do printf "<%s>" "$a"; done', 'sh', ...args])
    expect(await workspace.stdout(id)).toBe(args.map((argument) => `<${argument}>`).join(''))
  })

  it('keep any bytes', async () => {
    const report = await runToEnd(1, ['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" "\\377"; printf "\\000\\001\\200" >&2'])
    expect(report).toMatchObject({ state: 'succeeded', stdoutBytes: 3_000_000, stderrBytes: 3 })
    expect((await readFile(workspace.paths.stdout(report.id, 1))).equals(Buffer.alloc(3_000_000, 0xff))).toBe(true)
  })

  it.each([['no-such-command', 127], ['/etc', 126]])('tell that %s can not be run', async (command, exitCode) => {
    const report = await runToEnd(1, [command, 'x'])
    expect(report).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode })
    expect(report.message).toContain(command)
  })

  it('tell of a word that the kernel does not take', async () => {
    const report = await runToEnd(1, ['echo', 'x'.repeat(131_072)])
    expect(report).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode: 126 })
    expect(report.message).toContain('longer than the kernel takes')
  })

  it('see what their user asks to mount only where it is allowed', async () => {
    const allowed = join(workspace.root, 'allowed')
    await mkdir(allowed)
    await symlink('/etc', join(allowed, 'out'))
    const report = await runToEnd(1, ['cat', '/data/passwd'], { userMounts: [`${allowed}/out:/data`], allowedMounts: [allowed] })
    expect(report).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringContaining('may not be mounted') })
    expect(await containers()).toEqual([])
  })

  it('are killed with all that they have started, and alone', async () => {
    const [victim, other] = await Promise.all([start(1, ['sh', '-c', 'sleep 6001 & setsid sleep 6002 & sleep 6003'], { signal: 'SIGKILL' }), start(2, ['sh', '-c', `${UNTIL_GO}; echo lived`])])
    await act('killTask', victim)
    expect(await host.untilFinal(victim)).toMatchObject({ state: 'killed', reason: 'user', exitCode: 137 })
    const [container] = await containers()
    expect(await list(container?.id ?? '')).not.toMatch(/sleep 600\d/)
    await letGo()
    expect(await host.untilFinal(other)).toMatchObject({ state: 'succeeded' })
    expect(await workspace.stdout(other)).toBe('lived\n')
  })

  it('leave nothing running when they end', async () => {
    const { state } = await runToEnd(1, ['sh', '-c', 'setsid sleep 6004 & sleep 6005 & exit 0'])
    expect(state).toBe('succeeded')
    const [container] = await containers()
    expect(await list(container?.id ?? '')).not.toMatch(/sleep 600\d/)
  })

  it('get the signal and the grace that was asked for', async () => {
    const id = await start(1, ['sh', '-c', 'trap "echo int; exit 4" INT; echo up; while :; do sleep 0.05; done'], { signal: 'SIGINT' })
    await expect.poll(() => workspace.stdout(id)).toBe('up\n')
    await act('killTask', id)
    expect(await host.untilFinal(id)).toMatchObject({ state: 'killed', exitCode: 4 })
    const deaf = await start(2, ['sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 0.05; done'], { graceSeconds: 0.3 })
    await expect.poll(() => workspace.stdout(deaf)).toBe('deaf\n')
    await act('killTask', deaf)
    expect(await host.untilFinal(deaf)).toMatchObject({ state: 'killed', exitCode: 137 })
  })

  it('are paused alone, and time counts on', async () => {
    const [id, other] = await Promise.all([start(1, ['sh', '-c', UNTIL_GO]), start(2, ['sh', '-c', UNTIL_GO], { timeLimitSeconds: 4, signal: 'SIGKILL' })])
    expect(await act('pauseTask', id)).toMatchObject({ state: 'paused' })
    expect(await act('pauseTask', other)).toMatchObject({ state: 'paused' })
    await letGo()
    expect(await host.untilFinal(other)).toMatchObject({ state: 'timed_out', reason: 'time_limit' })
    await restart()
    await host.untilState(id, 'paused')
    expect(await act('resumeTask', id)).toMatchObject({ state: 'running' })
    expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded' })
  })

  it('lose nothing when the Runner is killed', async () => {
    const [running, ended] = await Promise.all([start(1, ['sh', '-c', `echo first; ${UNTIL_GO}; seq 2000; exit 6`]), start(2, ['sh', '-c', 'until [ -e /shared/end ]; do sleep 0.05; done; echo ended >&2; exit 9'])])
    await expect.poll(() => workspace.stdout(running)).toBe('first\n')
    const before = await containers()
    const [container] = before
    await runner.kill()
    await writeFile(join(workspace.paths.data, 'end'), '')
    await expect.poll(() => list(container?.id ?? '')).not.toContain('/shared/end')
    runner = await startRunner(workspace, host, { port })
    expect(await host.untilFinal(ended)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 9, stderrBytes: 6 })
    await host.untilState(running, 'running')
    // One more goes to the same container.
    expect(await runToEnd(3, ['echo', 'third'])).toMatchObject({ state: 'succeeded', message: null })
    expect((await containers()).map(({ id }) => id)).toEqual(before.map(({ id }) => id))
    await restart()
    await letGo()
    expect(await host.untilFinal(running)).toMatchObject({ state: 'failed', exitCode: 6, message: 'The command ended with exit code 6.' })
    expect(await workspace.stdout(running)).toBe(`first\n${Array.from({ length: 2000 }, (_, index) => `${index + 1}\n`).join('')}`)
    expect(await workspace.stderr(ended)).toBe('ended\n')
  })

  it('end with their keeper, and say so', async () => {
    const id = await start(1, ['sh', '-c', 'echo first; sleep 6006'])
    await expect.poll(() => workspace.stdout(id)).toBe('first\n')
    const { pid } = JSON.parse(await readFile(join(workspace.stateDir, 'items', id, 'supervisor-1.json'), 'utf8')) as { pid: number }
    process.kill(pid, 'SIGKILL')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'engine_failed', exitCode: null, message: expect.stringContaining('keeper') })
    const [container] = await containers()
    expect(await list(container?.id ?? '')).not.toContain('sleep 6006')
    expect(await runToEnd(2, ['echo', 'second'])).toMatchObject({ state: 'succeeded', message: null })
  })

  it('end with their agent, and later ones get another', async () => {
    const id = await start(1, ['sleep', '6007'])
    const [container] = await containers()
    const read = (pid: number, name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')
    for (const { pid } of listProcesses()) if ((await read(pid, 'cmdline')).includes('agent.cjs') && (await read(pid, 'cgroup')).includes(container?.id ?? '')) process.kill(pid, 'SIGKILL')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'engine_failed', message: expect.stringContaining('agent') })
    expect(await list(container?.id ?? '')).not.toContain('sleep 6007')
    expect(await runToEnd(2, ['echo', 'second'])).toMatchObject({ state: 'succeeded' })
    expect((await containers()).map((found) => found.id)).toEqual([container?.id])
  })

  it('may open their outputs by name', async () => {
    const { id } = await runToEnd(1, ['sh', '-c', 'echo out > /dev/stdout; echo err > /dev/stderr'])
    expect([await workspace.stdout(id), await workspace.stderr(id)]).toEqual(['out\n', 'err\n'])
  })

  it('have the variables of their image', async () => {
    const { id } = await runToEnd(1, ['sh', '-c', 'echo "$PATH"; env | cut -d= -f1 | grep -v HAKURIVER | sort | tr "\\n" " "'])
    const own = createOrder(image.id, ['sh', '-c', 'echo "$PATH"; env | cut -d= -f1 | grep -v HAKURIVER | sort | tr "\\n" " "'])
    await runner.put(own)
    await host.untilFinal(own.id)
    expect(await workspace.stdout(id)).toBe(await workspace.stdout(own.id))
  })

  it('fail for the Engine\'s sake when their container goes, and later ones get another', async () => {
    const id = await start(1, ['sleep', '600'])
    const [container] = await containers()
    await engine.removeContainer(container?.id ?? '')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'engine_failed', message: expect.stringContaining('container that items share') })
    expect(await runToEnd(2, ['echo', 'again'])).toMatchObject({ state: 'succeeded' })
  })

  it('do not go to a container of a Runner that has lost its memory', async () => {
    const id = await start(1, ['sleep', '600'])
    const [container] = await containers()
    await runner.kill()
    await rm(workspace.stateDir, { recursive: true })
    runner = await startRunner(workspace, host, { port })
    expect(await runToEnd(2, ['true'])).toMatchObject({ state: 'succeeded' })
    expect((await containers()).map((found) => found.id)).not.toContain(container?.id)
    expect(host.reports.filter((report) => report.id === id && report.state === 'succeeded')).toEqual([])
  })

  it('tell when they used more memory than all of them may', async () => {
    const report = await runToEnd(1, ['sh', '-c', 'head -c 300m /dev/zero | tail'], { memoryBytes: 16 * 1024 * 1024 })
    expect(report).toMatchObject({ state: 'out_of_memory', reason: 'memory_limit' })
  })

  it('are told apart when a child of one of them used too much memory', async () => {
    const limited = { memoryBytes: 64 * 2 ** 20 }
    const innocent = await start(1, ['sh', '-c', `${UNTIL_GO}; exit 5`], limited)
    const guilty = await start(2, ['sh', '-c', `tail -n 1 /dev/zero; echo ended; ${UNTIL_GO}; exit 77`], limited)
    await expect.poll(() => workspace.stdout(guilty)).toBe('ended\n')
    await letGo()
    expect(await host.untilFinal(innocent)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 5, message: 'The command ended with exit code 5.' })
    expect(await host.untilFinal(guilty)).toMatchObject({ state: 'out_of_memory', reason: 'memory_limit', exitCode: 77 })
    expect(await runToEnd(3, ['sh', '-c', 'exit 6'], limited)).toMatchObject({ state: 'failed', exitCode: 6, message: 'The command ended with exit code 6.' })
    expect(await containers()).toHaveLength(1)
  })

  it('are still told apart by the next Runner', async () => {
    const limited = { memoryBytes: 64 * 2 ** 20 }
    const guilty = await start(1, ['sh', '-c', `${UNTIL_GO}; tail -n 1 /dev/zero; exit 77`], limited)
    await restart()
    await host.untilState(guilty, 'running')
    const innocent = await start(2, ['sh', '-c', 'until [ -e /shared/end ]; do sleep 0.05; done; exit 5'], limited)
    await letGo()
    expect(await host.untilFinal(guilty)).toMatchObject({ state: 'out_of_memory', exitCode: 77 })
    await writeFile(join(workspace.paths.data, 'end'), '')
    expect(await host.untilFinal(innocent)).toMatchObject({ state: 'failed', exitCode: 5, message: 'The command ended with exit code 5.' })
  })

  it('take their container with them when the Runner stops', async () => {
    await runToEnd(1, ['true'])
    await runner.stop()
    expect(await containers()).toEqual([])
  })

  it('leave their container to the next Runner when theirs crashes', async () => {
    await runToEnd(1, ['true'])
    await restart()
    await expect.poll(containers).toEqual([])
  })

  it('keep their container when the Runner stops', async () => {
    const id = await start(1, ['sh', '-c', `${UNTIL_GO}; exit 5`])
    const before = await containers()
    await runner.stop()
    expect((await containers()).map((container) => container.id)).toEqual(before.map((container) => container.id))
    runner = await startRunner(workspace, host, { port })
    await letGo()
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', exitCode: 5 })
  })

  it('share so many times the limits of one as run at once', async () => {
    const limited = { memoryBytes: 32 * 2 ** 20, cores: 1 }
    await start(1, ['sh', '-c', UNTIL_GO], limited)
    await start(2, ['sh', '-c', UNTIL_GO], limited)
    const [container] = await containers()
    const limit = await look(container?.id ?? '', ['sh', '-c', 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max'])
    // And what the agent needs.
    expect(limit.trim()).toBe(String((64 + 64) * 2 ** 20))
    await letGo()
  })

  it('wait with their output until a full share has room again', async () => {
    const order = createItem(1, ['sh', '-c', 'seq 1000; seq 1000 >&2'])
    await mkdir(workspace.paths.outputs)
    await symlink('/dev/full', workspace.paths.stdout(order.id, 1))
    await runner.put(order)
    await host.until('a word about the share', () => host.reports.some(({ id, message }) => id === order.id && message?.includes('full')))
    await rm(workspace.paths.stdout(order.id, 1))
    const all = Array.from({ length: 1000 }, (_, index) => `${index + 1}\n`).join('')
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'succeeded', message: null, stdoutBytes: all.length })
    expect([await workspace.stdout(order.id), await workspace.stderr(order.id)]).toEqual([all, all])
  })

  it('have containers of their own on a node where they can not share', async () => {
    await runner.stop()
    // Nothing tells which libraries the agent needs.
    runner = await startRunner(workspace, host, { port, env: { PATH: '/nowhere' } })
    const id = await start(1, ['sh', '-c', `echo alone; ${UNTIL_GO}; exit 5`])
    expect(await containers()).toMatchObject([{ labels: { [labels.task]: id } }])
    await runner.kill()
    runner = await startRunner(workspace, host, { port })
    await letGo()
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', exitCode: 5 })
    expect(await workspace.stdout(id)).toBe('alone\n')
    await expect.poll(containers).toEqual([])
  })

  it('have containers of their own if their image has no shell to keep one alive', async () => {
    const folder = join(workspace.root, 'image')
    await mkdir(folder)
    await copyFile('/bin/busybox', join(folder, 'echo'))
    const reference = `test-no-shell-${createId()}:latest`
    await importFolder(socketPath, folder, reference)
    try {
      const bare = (await engine.inspectImage(reference)) as ImageDetails
      const orders = [1, 2].map((index) => createOrder(bare.id, ['/echo', String(index)], { id: `${batch}.${index}`, pack: batch }))
      for (const order of orders) await runner.put(order)
      for (const order of orders) expect(await host.untilFinal(order.id)).toMatchObject({ state: 'succeeded' })
      expect(await workspace.stdout(`${batch}.2`)).toBe('2\n')
      await expect.poll(containers).toEqual([])
    } finally {
      await engine.removeImage(reference)
    }
  })

  /** What a command prints in a container. */
  async function look(container: string, command: string[]): Promise<string> {
    const { stream } = await engine.exec(container, { command, tty: false })
    return (await readText(stream)).stdout
  }
  const list = (container: string) => look(container, ['ps', '-o', 'args'])
})
