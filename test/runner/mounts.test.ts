import { mkdirSync, renameSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ContainerSpec, Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { makeDirectory } from '#runner/executors/make-directory.ts'
import { testEngine } from '../support/engine.ts'
import { withFaults } from '../support/faulty-engine.ts'
import { createLocalTasks } from './support/local-tasks.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

describe('what a task mounts', () => {
  let workspace: Workspace

  beforeEach(async () => {
    workspace = await createWorkspace({ listContainers: () => Promise.resolve([]), removeContainer: () => Promise.resolve() })
  })
  afterEach(() => workspace.remove())

  /** The end of a task on an Engine that does this when it is to make its container. */
  async function runWith(createContainer: (spec: ContainerSpec) => Promise<string>, userMounts: string[], allowedMounts: string[]) {
    const engine = new Proxy(withFaults(testEngine(), {}), { get: (target, method: keyof Engine) => (method === 'createContainer' ? createContainer : target[method]) })
    const tasks = await createLocalTasks(engine, workspace)
    try {
      const order = createOrder('sha256:image', ['true'], { userMounts, allowedMounts })
      await tasks.accept(order)
      return await tasks.untilFinal(order.id)
    } finally {
      await tasks.close()
    }
  }

  it('is what a user asked for without its links', async () => {
    const allowed = join(workspace.root, 'allowed')
    mkdirSync(join(allowed, 'inside'), { recursive: true })
    symlinkSync('inside', join(allowed, 'link'))
    symlinkSync(allowed, join(workspace.root, 'root'))
    const asked: ContainerSpec[] = []
    const refuse = (spec: ContainerSpec) => (asked.push(spec), Promise.reject(new HakuError('engine.invalid', 'That is all.')))
    await runWith(refuse, [`${workspace.root}/root/link:/data:ro`], [join(workspace.root, 'root')])
    expect(asked[0]?.mounts.at(-1)).toEqual({ source: join(allowed, 'inside'), target: '/data', readOnly: true })
  })

  it('is judged again when the Engine has been away meanwhile', async () => {
    const allowed = join(workspace.root, 'allowed')
    mkdirSync(join(allowed, 'data'), { recursive: true })
    let calls = 0
    const swap = () => {
      calls++
      renameSync(join(allowed, 'data'), join(allowed, 'before'))
      symlinkSync('/etc', join(allowed, 'data'))
      return Promise.reject(new HakuError('engine.unavailable', 'The Engine does not answer.'))
    }
    expect(await runWith(swap, [`${allowed}/data:/data`], [allowed])).toMatchObject({ state: 'failed', reason: 'start_failed', message: expect.stringContaining('which leads to "/etc", may not be mounted') })
    expect(calls).toBe(1)
  })

  it('is a directory for all users if it has to be made, whatever the umask, and else as it is', async () => {
    const modeOf = (path: string) => statSync(path).mode & 0o7777
    const [made, there] = [join(workspace.root, 'parent', 'made'), join(workspace.root, 'there')]
    mkdirSync(there, { mode: 0o750 })
    await makeDirectory(there)
    const before = process.umask(0o077)
    try {
      await makeDirectory(made, { recursive: true })
    } finally {
      process.umask(before)
    }
    expect([made, there].map(modeOf)).toEqual([0o1777, 0o750])
    await expect(makeDirectory(join(workspace.root, 'gone', 'data'))).rejects.toMatchObject({ code: 'storage.unavailable' })
  })
})
