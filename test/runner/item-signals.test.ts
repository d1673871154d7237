import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createId } from '#core/ids.ts'
import { itemProcesses } from '#runner/executors/pack/item-processes.ts'
import { freezeItem, type Item, killItem, signalItem } from '#runner/executors/pack/signal-item.ts'
import { parseLibraries } from '#runner/executors/pack/agent/runtime.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'

describe.skipIf(engineMissing !== undefined)('the processes of one item', () => {
  const engine = testEngine()
  let containerId: string
  let item: Item

  beforeEach(async () => {
    containerId = await engine.createContainer({ name: `test-items-${createId()}`, image: await ensureBusybox(socketPath), command: ['sleep', '6100'], env: {}, labels: {}, mounts: [], network: 'none', logs: 'none' })
    await engine.startContainer(containerId)
    const id = createId()
    const { stream } = await engine.exec(containerId, { command: ['sh', '-c', 'trap "exit 0" USR1; sleep 6101 & setsid sleep 6102 & echo up; while :; do sleep 0.05; done'], env: { HAKURIVER_TASK_ID: id }, tty: false })
    await once(stream, 'readable')
    stream.resume()
    await engine.exec(containerId, { command: ['sleep', '6103'], env: { HAKURIVER_TASK_ID: 'another' }, tty: false })
    await vi.waitFor(() => expect([processes(id), processes('another')].map(({ length }) => length)).toEqual([4, 1]), { timeout: 20_000 })
    // The shell is the parent of the others.
    item = { containerId, id, pid: Math.min(...processes(id).map(({ pid }) => pid)) }
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    await engine.removeContainer(containerId)
  })

  const processes = (id: string, pid = 0) => itemProcesses(containerId, { pid, id })

  /** As a Runner that is not root. */
  function forbid(): void {
    vi.spyOn(process, 'kill').mockImplementation(() => {
      throw Object.assign(new Error('not permitted'), { code: 'EPERM' })
    })
  }

  describe.each([['directly', () => undefined], ['through the container', forbid]])('%s', (_, prepare) => {
    beforeEach(prepare)

    it('are ended, and no others', async () => {
      await killItem(engine, item)
      expect(processes(item.id, item.pid)).toEqual([])
      expect(processes('another')).toHaveLength(1)
    })

    it('are stopped and go on', async () => {
      expect(await freezeItem(engine, item, 'pause')).toBe(true)
      expect(processes(item.id, item.pid).every(({ isStopped }) => isStopped)).toBe(true)
      expect(processes('another').some(({ isStopped }) => isStopped)).toBe(false)
      expect(await freezeItem(engine, item, 'resume')).toBe(true)
      expect(processes(item.id, item.pid).some(({ isStopped }) => isStopped)).toBe(false)
    })

    it('get a signal: the main one, awake', async () => {
      await freezeItem(engine, item, 'pause')
      await signalItem(engine, item, 'SIGUSR1')
      await vi.waitFor(() => expect(processes(item.id, item.pid).some(({ pid }) => pid === item.pid)).toBe(false), { timeout: 10_000 })
    })
  })

  it('that is over has none', async () => {
    expect(await freezeItem(engine, { ...item, id: 'nobody', pid: 0 }, 'pause')).toBe(false)
    await killItem(engine, { ...item, id: 'nobody', pid: 0 })
    expect(processes(item.id)).not.toEqual([])
  })
})

describe('what an agent needs of this machine', () => {
  it.each([
    ['glibc', '\tlinux-vdso.so.1 (0x00007f)\n\tlibdl.so.2 => /lib/x86_64-linux-gnu/libdl.so.2 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n', ['/lib/x86_64-linux-gnu/libdl.so.2', '/lib/x86_64-linux-gnu/libc.so.6'], '/lib64/ld-linux-x86-64.so.2'],
    ['musl', '\t/lib/ld-musl-x86_64.so.1 (0x7f)\n\tlibstdc++.so.6 => /usr/lib/libstdc++.so.6 (0x7f)\n\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f)\n', ['/usr/lib/libstdc++.so.6'], '/lib/ld-musl-x86_64.so.1'],
    ['arm', '\tlibc.so.6 => /lib/aarch64-linux-gnu/libc.so.6 (0x1)\n\t/lib/ld-linux-aarch64.so.1 (0x1)\n', ['/lib/aarch64-linux-gnu/libc.so.6'], '/lib/ld-linux-aarch64.so.1'],
    ['nothing', '', [], undefined],
  ])('with %s', (_, text, libraries, loader) => {
    expect(parseLibraries(text)).toEqual({ libraries, loader })
  })
})
