import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import type { ImageDetails } from '#core/engine/engine.ts'
import { taskContainerName } from '#core/paths.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { freePort } from '#simulator/free-port.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

const MEBIBYTE = 2 ** 20
const DEAF = ['sh', '-c', 'trap "" TERM INT; echo deaf; while :; do sleep 0.05; done']

describe.skipIf(engineMissing !== undefined)('what a task may have of its node', () => {
  const engine = testEngine()
  let image: ImageDetails
  let host: StubHost
  let workspace: Workspace
  let port: number
  let runner: RunnerProcess

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    workspace = await createWorkspace(engine)
    host = await startStubHost()
    port = await freePort()
    runner = await startRunner(workspace, host, { port })
  })
  afterAll(async () => {
    await runner?.stop()
    await host?.stop()
    await workspace?.remove()
  })

  async function start(command: string[], change: Partial<TaskOrder> = {}): Promise<string> {
    const order = createOrder(image.id, command, change)
    await runner.put(order)
    await host.untilState(order.id, 'running')
    return order.id
  }
  async function runToEnd(command: string[], change: Partial<TaskOrder> = {}): Promise<TaskReport> {
    const order = createOrder(image.id, command, change)
    await runner.put(order)
    return host.untilFinal(order.id)
  }
  async function startDeaf(change: Partial<TaskOrder>): Promise<string> {
    const id = await start(DEAF, change)
    await expect.poll(() => workspace.stdout(id)).toBe('deaf\n')
    return id
  }
  const act = (action: 'killTask' | 'pauseTask' | 'resumeTask', id: string) => runner.client.call(action, { params: { id }, body: { instance: 1 } })

  async function restart(): Promise<void> {
    await runner.kill()
    runner = await startRunner(workspace, host, { port })
  }

  it('is who and where it was told', async () => {
    await runToEnd(['touch', '/shared/theirs'])
    const report = await runToEnd(['sh', '-c', 'echo "$(id -u):$(id -g) $PWD $HAKURIVER_ARRAY_INDEX"; touch /shared/mine && rm -f /shared/mine && rm -f /shared/theirs'], { user: '1234:567', workdir: '/tmp' })
    expect(await workspace.stdout(report.id)).toBe('1234:567 /tmp \n')
    // The data of others is theirs.
    expect(report).toMatchObject({ state: 'failed', exitCode: 1 })
  })

  it('has the index of its item', async () => {
    const { id } = createOrder(image.id, [])
    await runToEnd(['sh', '-c', 'echo "$HAKURIVER_TASK_ID $HAKURIVER_ARRAY_INDEX"'], { id: `${id}.42` })
    expect(await workspace.stdout(`${id}.42`)).toBe(`${id}.42 42\n`)
  })

  it('is held to its NUMA node', async () => {
    const { id } = await runToEnd(['grep', '-E', '^(Cpus|Mems)_allowed_list', '/proc/self/status'], { numaNode: 0 })
    const cpus = (await readFile('/sys/devices/system/node/node0/cpulist', 'utf8')).trim()
    expect((await workspace.stdout(id)).replaceAll(/\s+/g, ' ')).toBe(`Cpus_allowed_list: ${cpus} Mems_allowed_list: 0 `)
    expect(await runToEnd(['true'], { numaNode: 77 })).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringContaining('no NUMA node 77') })
  })

  it('gets no GPUs of an Engine that has no driver for them, and says so', async () => {
    const report = await runToEnd(['true'], { gpus: [{ id: 0, uuid: 'GPU-00000000-0000-0000-0000-000000000000' }] })
    expect(report).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringMatching(/device driver|nvidia|CDI/i) })
  })

  describe('of memory', () => {
    const memory = { memoryBytes: 64 * MEBIBYTE }
    const ALLOCATE = ['tail', '-c', '500000000', '/dev/zero']

    it.each([
      ['by itself', ALLOCATE],
      ['by a child, whose end it survives', ['sh', '-c', `${ALLOCATE.join(' ')}; echo survived; exit 3`]],
      ['by a child, a while before its end', ['sh', '-c', `${ALLOCATE.join(' ')}; sleep 1; exit 137`]],
    ])('ends as out of memory when its limit is hit %s', async (_, command) => {
      expect(await runToEnd(command, memory)).toMatchObject({ state: 'out_of_memory', reason: 'memory_limit', message: expect.stringContaining(String(64 * MEBIBYTE)) })
    })

    it('is found out of each of many that end at once', async () => {
      const reports = await Promise.all(Array.from({ length: 8 }, () => runToEnd(ALLOCATE, { memoryBytes: 16 * MEBIBYTE })))
      expect(reports.map(({ state }) => state)).toEqual(Array(8).fill('out_of_memory'))
    })

    it('is not said of a task that was killed by hand, or ended so by itself', async () => {
      const id = await start(['sleep', '600'], memory)
      await engine.signalContainer(taskContainerName(id, 1), 'SIGKILL')
      expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 137 })
      expect(await runToEnd(['sh', '-c', 'exit 137'], memory)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 137 })
      expect(await runToEnd(['sh', '-c', 'sh -c "kill -9 \\$\\$"; exit 5'], memory)).toMatchObject({ state: 'failed', exitCode: 5 })
    })

    it('that it survived is no failure', async () => {
      expect(await runToEnd(['sh', '-c', `${ALLOCATE.join(' ')}; exit 0`], memory)).toMatchObject({ state: 'succeeded' })
    })

    it('is found out after a crash of the Runner', async () => {
      const id = await start(['sh', '-c', `until [ -e /shared/allocate ]; do sleep 0.05; done; exec ${ALLOCATE.join(' ')}`], memory)
      await runner.kill()
      await writeFile(join(workspace.paths.data, 'allocate'), '')
      await engine.waitContainer(taskContainerName(id, 1))
      runner = await startRunner(workspace, host, { port })
      expect(await host.untilFinal(id)).toMatchObject({ state: 'out_of_memory', exitCode: 137 })
    })
  })

  describe('of time', () => {
    it('is over after its limit', async () => {
      const before = performance.now()
      expect(await runToEnd(['sleep', '600'], { timeLimitSeconds: 1 })).toMatchObject({ state: 'timed_out', reason: 'time_limit', exitCode: 143, message: expect.stringContaining('1 s') })
      expect(performance.now() - before).toBeGreaterThan(1000)
    })

    it('may be less than its limit', async () => {
      expect(await runToEnd(['true'], { timeLimitSeconds: 60 })).toMatchObject({ state: 'succeeded' })
    })

    it('ends with the signal that was asked for, and its output', async () => {
      const report = await runToEnd(['sh', '-c', 'trap "echo saved; exit 0" USR1; echo up; while :; do sleep 0.05; done'], { timeLimitSeconds: 1, signal: 'SIGUSR1' })
      expect(report).toMatchObject({ state: 'timed_out', exitCode: 0 })
      expect(await workspace.stdout(report.id)).toBe('up\nsaved\n')
    })

    it('ends by force after its grace', async () => {
      expect(await runToEnd(DEAF, { timeLimitSeconds: 2, graceSeconds: 0.5 })).toMatchObject({ state: 'timed_out', exitCode: 137 })
    })

    it('counts on while it is paused', async () => {
      const id = await start(['sleep', '600'], { timeLimitSeconds: 1.5 })
      await act('pauseTask', id)
      expect(await host.untilFinal(id)).toMatchObject({ state: 'timed_out', exitCode: 143 })
    })

    it('counts on while the Runner is away', async () => {
      const before = performance.now()
      const id = await start(['sleep', '600'], { timeLimitSeconds: 4 })
      await restart()
      expect(await host.untilFinal(id)).toMatchObject({ state: 'timed_out' })
      expect(performance.now() - before).toBeGreaterThan(4000)
    })

    it('that ran out is remembered by the Runner that comes back', async () => {
      const id = await startDeaf({ timeLimitSeconds: 2, graceSeconds: 600 })
      // Its time is over, and it was told so.
      await expect.poll(() => readTimedOut(id)).toBe(1)
      await runner.kill()
      await engine.signalContainer(taskContainerName(id, 1), 'SIGKILL')
      runner = await startRunner(workspace, host, { port })
      expect(await host.untilFinal(id)).toMatchObject({ state: 'timed_out', exitCode: 137 })
    })

    it('is not what ended a task that was killed before', async () => {
      const id = await startDeaf({ timeLimitSeconds: 5, graceSeconds: 6 })
      await act('killTask', id)
      expect(await host.untilFinal(id)).toMatchObject({ state: 'killed', reason: 'user', exitCode: 137 })
    })

    async function readTimedOut(id: string): Promise<unknown> {
      const { default: Database } = await import('libsql')
      const database = new Database(join(workspace.stateDir, 'runner.db'), { readonly: true })
      try {
        const row = database.prepare('SELECT is_timed_out FROM executions WHERE id = ?').get(id) as { is_timed_out: number } | undefined
        return row?.is_timed_out
      } finally {
        database.close()
      }
    }
  })

  describe('when it is killed', () => {
    it('gets its signal and its grace, and is told as killed only when it is over', async () => {
      const id = await start(['sh', '-c', 'trap "echo got it; sleep 1; exit 4" INT; echo up; while :; do sleep 0.05; done'], { signal: 'SIGINT' })
      await expect.poll(() => workspace.stdout(id)).toBe('up\n')
      await act('killTask', id)
      await expect.poll(() => workspace.stdout(id)).toBe('up\ngot it\n')
      expect(host.reports.filter((report) => report.id === id && report.state === 'killed')).toEqual([])
      expect(await host.untilFinal(id)).toMatchObject({ state: 'killed', exitCode: 4 })
    })

    it('is ended at once by SIGKILL, and by force after its grace', async () => {
      for (const change of [{ signal: 'SIGKILL', graceSeconds: 600 }, { graceSeconds: 0 }] as const) {
        const id = await startDeaf(change)
        await act('killTask', id)
        expect(await host.untilFinal(id)).toMatchObject({ state: 'killed', exitCode: 137 })
      }
    })

    it('can not be paused any more', async () => {
      const id = await startDeaf({ graceSeconds: 1 })
      await act('killTask', id)
      await expect(act('pauseTask', id)).rejects.toMatchObject({ code: 'task.state' })
      await host.untilFinal(id)
    })
  })

  describe('of output', () => {
    const MARK = '\n[hakuriver] The output is longer than 1000 bytes, the limit set by logs.max_bytes. The rest was cut off here.\n'

    it('is cut off with a mark, and it runs on', async () => {
      const report = await runToEnd(['sh', '-c', 'head -c 5000000 /dev/zero | tr "\\0" x; echo short >&2; exit 3'], { maxOutputBytes: 1000 })
      expect(report).toMatchObject({ state: 'failed', exitCode: 3, stdoutBytes: 1000 + MARK.length, stderrBytes: 6 })
      expect(await workspace.stdout(report.id)).toBe('x'.repeat(1000) + MARK)
      expect(await workspace.stderr(report.id)).toBe('short\n')
    })

    it('has one mark, however often the Runner is killed', async () => {
      const id = await start(['sh', '-c', 'until [ -e /shared/enough ]; do for i in 1 2 3 4 5 6 7 8 9; do echo 0123456789; echo err >&2; done; sleep 0.05; done; echo last >&2'], { maxOutputBytes: 1000 })
      for (let crash = 0; crash < 3; crash++) {
        await expect.poll(() => workspace.stdout(id)).toContain(MARK)
        await restart()
        await host.untilState(id, 'running')
      }
      await writeFile(join(workspace.paths.data, 'enough'), '')
      expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded' })
      expect(await workspace.stdout(id)).toBe('0123456789\n'.repeat(91).slice(0, 1000) + MARK)
    })
  })
})

describe.skipIf(engineMissing !== undefined)('CPUs of their own', () => {
  const engine = testEngine()

  it('are given to tasks, and taken back', async () => {
    const image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    const workspace = await createWorkspace(engine)
    const host = await startStubHost()
    const port = await freePort()
    const options = { port, env: { HAKURIVER_DOCKER_CPU_LIMIT: 'cpuset' } }
    let runner = await startRunner(workspace, host, options)
    try {
      const show = ['sh', '-c', 'grep ^Cpus_allowed_list /proc/self/status; until [ -e "/shared/$0" ]; do sleep 0.05; done']
      const start = async (name: string, cores: number) => {
        const order = createOrder(image.id, [...show, name], { cores })
        await runner.put(order)
        await host.untilState(order.id, 'running')
        await expect.poll(() => workspace.stdout(order.id)).toContain('\n')
        return { id: order.id, cpus: (await workspace.stdout(order.id)).replace('Cpus_allowed_list:', '').trim() }
      }
      const first = await start('a', 1)
      await runner.kill()
      runner = await startRunner(workspace, host, options)
      const second = await start('b', 1)
      expect([first.cpus, second.cpus].toSorted()).toEqual(['0', '1'])
      await writeFile(join(workspace.paths.data, 'a'), '')
      await host.untilFinal(first.id)
      expect((await start('b', 1)).cpus).toBe(first.cpus)
      // More than there are: a quota is better than nothing.
      expect((await start('b', 1)).cpus).toBe('0-1')
      await writeFile(join(workspace.paths.data, 'b'), '')
    } finally {
      await runner.stop()
      await host.stop()
      await workspace.remove()
    }
  })
})
