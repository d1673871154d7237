import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { SignalName } from '#core/api/schemas.ts'
import { sharedPaths } from '#core/paths.ts'
import type { Executor, Exit } from '#runner/executors/executor.ts'
import { createTasks, type Tasks } from '#runner/executors/tasks.ts'
import { openRunnerState, type RunnerState } from '#runner/state/state.ts'
import { createOrder } from './support/workspace.ts'

describe('a Runner whose state can not be written', () => {
  let root: string
  let state: RunnerState
  let closing: AbortController
  let tasks: Tasks
  /** Instead of writing. */
  let save: RunnerState['save']
  let signals: SignalName[]

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'hakuriver-full-disk-test-'))
    const paths = sharedPaths(join(root, 'shared'), 'hakuriver-containers')
    await mkdir(paths.root)
    await writeFile(paths.mark, '')
    state = await openRunnerState(join(root, 'runner.db'))
    save = state.save
    closing = new AbortController()
    signals = []
    const executor = createExecutor()
    const services = { state: { ...state, save: (record) => save(record) } satisfies RunnerState, paths, hostname: 'node-1', localTempDir: root, closing: closing.signal }
    tasks = createTasks({ services, executors: { container: executor, pack: executor, plain: executor }, images: { touch: () => undefined, sweep: () => Promise.resolve() }, takesPlain: true, onNews: () => undefined })
  })
  afterEach(async () => {
    closing.abort(new Error('the test is over'))
    await tasks.settled()
    await state.close()
    rmSync(root, { recursive: true })
  })

  /** What it starts runs until it gets a signal. */
  function createExecutor(): Executor {
    let end: (exit: Exit) => void = () => undefined
    const ended = new Promise<Exit>((resolve) => (end = resolve))
    return {
      removeEarlier: () => Promise.resolve(),
      find: () => Promise.resolve(undefined),
      create: () => Promise.resolve({ status: 'created', started: null, finished: null }),
      start: () => Promise.resolve(undefined),
      wait: () => ended,
      readOutput: () => Promise.resolve({ chunks: chunksUntil(ended), destroy: () => undefined }),
      lookInto: () => Promise.resolve({ outOfMemory: false }),
      runningMs: () => Promise.resolve(0),
      signal(_, signal) {
        signals.push(signal)
        end({ exitCode: 143, interrupted: false })
        return Promise.resolve()
      },
      pause: () => Promise.resolve(),
      resume: () => Promise.resolve(),
      remove: () => Promise.resolve(),
    }
  }

  it('carries out a kill all the same, and remembers it later', async () => {
    const order = createOrder('', ['true'], { image: null })
    await tasks.accept(order)
    await expect.poll(() => state.find(order)?.report.state).toBe('running')
    save = () => Promise.reject(new Error('the disk is full'))
    await tasks.kill(order)
    await expect.poll(() => state.find(order)?.report.state).toBe('killed')
    expect(signals).toEqual(['SIGTERM'])
    await state.close()
    state = await openRunnerState(join(root, 'runner.db'))
    expect(state.find(order)).toMatchObject({ wish: 'kill', report: { state: 'killed' } })
  })

  it('has accepted no order before it is on the disk, however often it comes', async () => {
    const order = createOrder('', ['true'], { image: null })
    let refuse: (reason: Error) => void = () => undefined
    save = (record) => {
      void state.save(record)
      return new Promise((_, reject) => (refuse = reject))
    }
    const answers = [tasks.accept(order), tasks.accept(order)]
    refuse(new Error('the disk is full'))
    expect((await Promise.allSettled(answers)).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(state.find(order)).toBeUndefined()
  })
})

async function* chunksUntil(ended: Promise<unknown>): AsyncGenerator<never[]> {
  await ended
  yield []
}
