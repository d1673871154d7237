import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { createLocalTasks } from './support/local-tasks.ts'
import { createOrder, createWorkspace } from './support/workspace.ts'

const HIERARCHY = existsSync('/sys/fs/cgroup/cgroup.controllers') ? '/sys/fs/cgroup' : '/sys/fs/cgroup/pids'

/** As an Engine leaves it that was restarted: the container was never started, and its runtime holds a process for it all the same. */
it.skipIf(engineMissing !== undefined || process.getuid?.() !== 0)('what a runtime holds of a container that could not be started goes with the container', async () => {
  const engine = testEngine()
  const workspace = await createWorkspace(engine)
  const held = spawn('sleep', ['6100'])
  const ended = once(held, 'exit')
  let directory = ''
  const startContainer = (id: string) => {
    directory = join(HIERARCHY, `hakuriver-test-${id}`)
    mkdirSync(directory)
    writeFileSync(join(directory, 'cgroup.procs'), String(held.pid))
    return Promise.reject(new HakuError('engine.failed', 'The Engine says: no such device.'))
  }
  const failing = new Proxy(engine, { get: (target, method: keyof Engine) => (method === 'startContainer' ? startContainer : target[method]) })
  const tasks = await createLocalTasks(failing, workspace)
  try {
    const order = createOrder((await engine.inspectImage(await ensureBusybox(socketPath)))?.id ?? '', ['true'])
    await tasks.accept(order)
    expect(await tasks.untilFinal(order.id)).toMatchObject({ state: 'failed', reason: 'start_failed' })
    expect(await ended).toEqual([null, 'SIGKILL'])
    expect(await workspace.containers()).toEqual(new Map())
  } finally {
    held.kill('SIGKILL')
    await ended
    rmdirSync(directory)
    await tasks.close()
    await workspace.remove()
  }
})
