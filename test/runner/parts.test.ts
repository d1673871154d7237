import { mkdtempSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TaskState } from '#core/tasks/states.ts'
import { sharedPaths } from '#core/paths.ts'
import { judgeEnd } from '#runner/executors/ending.ts'
import { openOutputFiles } from '#runner/executors/output-files.ts'
import { classifyStartFailure } from '#runner/executors/start-container.ts'
import { parseMemoryAvailable } from '#runner/hardware/usage.ts'
import { createBell } from '#runner/host/bell.ts'
import { openRunnerState, type TaskRecord } from '#runner/state/state.ts'
import { planSuperseded } from '#runner/sync/superseded.ts'
import { createSync, withSignal } from '#runner/sync/sync.ts'
import { createOrder } from './support/workspace.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hakuriver-runner-parts-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

function createRecord(state: TaskState = 'running', sequence = 5): TaskRecord {
  const order = createOrder('sha256:x', ['true'])
  const report = { id: order.id, sequence, state, reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null }
  return { order, report, acknowledged: 1, wish: 'run', containerId: 'c1', released: null }
}

describe('state', () => {
  it('keeps what was saved, written soon or removed, over a restart', async () => {
    const file = join(root, 'runner.db')
    const first = await openRunnerState(file)
    const [saved, soon, removed] = [createRecord('succeeded'), createRecord('failed'), createRecord()]
    await Promise.all([first.save(saved), first.save(removed)])
    first.saveSoon(soon)
    first.remove(removed.order.id)
    await first.saveImage({ environment: 'env', version: 1, image_id: 'a' })
    await first.saveImage({ environment: 'env', version: 1, image_id: 'b' })
    await first.close()
    const second = await openRunnerState(file)
    expect(second.list().map(({ order }) => order.id).toSorted()).toEqual([saved.order.id, soon.order.id].toSorted())
    expect(second.find(saved.order.id)).toEqual(saved)
    expect(second.listImages()).toEqual([{ environment: 'env', version: 1, image_id: 'b' }])
    await second.close()
  })

  it('never reports a sequence of an unfinished task twice', async () => {
    const file = join(root, 'runner.db')
    const first = await openRunnerState(file)
    const record = createRecord('running', 5)
    await first.save(record)
    await first.close()
    const second = await openRunnerState(file)
    expect(second.find(record.order.id)?.report.sequence).toBeGreaterThan(500)
    await second.close()
  })
})

describe('output files', () => {
  const chunk = (channel: 'stdout' | 'stderr', text: string) => ({ channel, bytes: Buffer.from(text) })

  it('goes on at the end of what is there, or writes over it', async () => {
    const paths = sharedPaths(root, 'tarballs')
    const first = await openOutputFiles(paths, 'task', { from: 'empty' })
    await first.write([chunk('stdout', 'ab'), chunk('stderr', 'x'), chunk('stdout', 'cd')])
    await first.close()
    const second = await openOutputFiles(paths, 'task', { from: 'end' })
    expect(second.positions).toEqual({ stdout: 4, stderr: 1 })
    await second.write([chunk('stdout', 'ef')])
    await second.finish()
    const third = await openOutputFiles(paths, 'task', { from: 'start' })
    await third.write([chunk('stdout', 'AB')])
    await third.finish()
    expect(await readFile(paths.stdout('task'), 'utf8')).toBe('ABcdef')
    expect(await readFile(paths.stderr('task'), 'utf8')).toBe('x')
  })

  it('never makes the shared directory itself', async () => {
    await expect(openOutputFiles(sharedPaths(join(root, 'missing'), 'tarballs'), 'task', { from: 'empty' })).rejects.toMatchObject({ code: 'storage.unavailable' })
  })

  it('names the file that can not be written', async () => {
    const paths = sharedPaths(root, 'tarballs')
    await mkdir(paths.stderr('task'), { recursive: true })
    await expect(openOutputFiles(paths, 'task', { from: 'end' })).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining(root) })
  })
})

describe('the end of a task', () => {
  const facts = { wish: 'run', exitCode: 1, outOfMemory: false, memoryBytes: null, initFailure: undefined, lost: undefined } as const
  it.each([
    [{ exitCode: 0 }, { state: 'succeeded', reason: null }],
    [{}, { state: 'failed', reason: 'exited' }],
    [{ exitCode: 137, outOfMemory: true }, { state: 'out_of_memory', reason: 'memory_limit' }],
    [{ exitCode: undefined }, { state: 'failed', reason: 'node_forgot' }],
    [{ exitCode: 143, wish: 'kill' }, { state: 'killed', reason: 'user', exitCode: 143 }],
    [{ exitCode: undefined, wish: 'kill' }, { state: 'killed', reason: 'user', exitCode: null }],
    [{ exitCode: 127, initFailure: 'exec x failed: No such file' }, { state: 'failed', reason: 'command_not_found', exitCode: 127 }],
    [{ exitCode: 139 }, { message: expect.stringContaining('signal 11') }],
    [{ exitCode: 0, lost: 'the disk is full' }, { state: 'succeeded', message: expect.stringContaining('the disk is full') }],
  ] as const)('%o means %o', (change, ending) => {
    expect(judgeEnd({ ...facts, ...change })).toMatchObject(ending)
  })

  it.each([
    ['OCI runtime create failed: exec: "nope": executable file not found in $PATH: unknown', 'command_not_found', 127],
    ['exec: "/etc": permission denied: unknown', 'command_not_found', 126],
    ['exec /x: exec format error', 'command_not_found', 126],
    ['network nowhere not found', 'start_failed', null],
  ])('the Engine saying %s is told apart', (words, reason, exitCode) => {
    expect(classifyStartFailure(words)).toEqual({ reason, exitCode })
  })
})

describe('superseded images', () => {
  const image = (environment: string, version: number, id = `${environment}${version}`) => ({ environment, version, image_id: id })
  it('are older, of the same environment, and needed by no unfinished task', () => {
    const needed = { ...createRecord(), order: createOrder('', ['true'], { environment: 'a', version: 2 }) }
    const images = [image('a', 1), image('a', 2), image('a', 3), image('ab', 1), image('c', 1, 'same'), image('c', 2, 'same')]
    expect(planSuperseded(images, [needed])).toEqual([image('a', 1)])
    expect(planSuperseded(images, [])).toEqual([image('a', 1), image('a', 2)])
  })
})

describe('bell', () => {
  it('wakes at once for what is urgent, and remembers a ring', async () => {
    const bell = createBell(60_000)
    const { signal } = new AbortController()
    bell.ring(false)
    const waiting = bell.wait(signal)
    bell.ring(true)
    await waiting
    bell.ring(true)
    await expect(bell.wait(signal)).resolves.toBeUndefined()
  })

  it('gathers what is not urgent', async () => {
    const bell = createBell(5)
    bell.ring(false)
    bell.ring(false)
    await bell.wait(new AbortController().signal)
    await expect(bell.wait(AbortSignal.timeout(30))).rejects.toThrow('timeout')
  })
})

describe('a sync that tasks share', () => {
  it('tells latecomers that it loads, and lets one leave without ending it', async () => {
    let finish: (id: string) => void = () => undefined
    const sync = createSync((tell) => {
      tell.onLoading()
      return new Promise((resolve) => (finish = resolve))
    })
    let loading = 0
    sync.listen({ onLoading: () => loading++, onTrouble: () => undefined })
    expect(loading).toBe(1)
    await expect(withSignal(sync.result, AbortSignal.abort(new Error('killed')))).rejects.toThrow('killed')
    finish('image')
    expect(await withSignal(sync.result, new AbortController().signal)).toBe('image')
  })
})

it('reads the memory that programs can get', () => {
  expect(parseMemoryAvailable('MemTotal:  100 kB\nMemFree:   10 kB\nMemAvailable:   20 kB\n')).toBe(20 * 1024)
  expect(parseMemoryAvailable('MemTotal:  100 kB\n')).toBeUndefined()
})
