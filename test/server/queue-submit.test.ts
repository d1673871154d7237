import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { submitBody, type SubmitInput } from '#core/api/schemas.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost({ mounts: ['/opt:/opt:ro'], allowedMounts: ['/srv'], allowedNetworks: ['bridge', 'none'], user: '1000:1000', maxOutputBytes: 5 })
})
afterEach(async () => {
  vi.useRealTimers()
  await host.dispose()
})

const refusal = (code: string, message?: string) => expect.objectContaining({ code, ...(message !== undefined && { message: expect.stringContaining(message) as unknown }) })
const gpu = (id: number, memoryBytes = 24e9) => ({ id, uuid: `GPU-${id}`, name: 'a GPU', memoryBytes, numaNode: 0 })

describe('a submission', () => {
  it('gives its node everything, decided', async () => {
    await host.register('a', { cores: 8, gpus: [gpu(0), gpu(1)], numaNodes: [{ id: 0, cpus: '0-3', cores: 4, memoryBytes: 5e8 }, { id: 1, cpus: '4-7', cores: 4, memoryBytes: 5e8 }] })
    const id = await host.submitOne({ command: ['x'], env: { A: 'b' }, mounts: ['/srv/a:/a'], cores: 2, memoryBytes: 1e8, targets: ['a:1::1'], workdir: '/w', network: 'none', timeLimitSeconds: 60, signal: 'SIGINT', graceSeconds: 3 })
    await host.node.ordered(id)
    expect(host.node.orders.get(id)).toEqual({
      id, instance: 1, image: expect.objectContaining({ environment: 'my-env', version: 7 }) as unknown, command: ['x'], env: { A: 'b' }, mounts: ['/opt:/opt:ro'], userMounts: ['/srv/a:/a'], allowedMounts: ['/srv'], cores: 2, memoryBytes: 1e8, numaNode: 1, gpus: [{ id: 1, uuid: 'GPU-1' }],
      user: '1000:1000', workdir: '/w', network: 'none', privileged: false, timeLimitSeconds: 60, signal: 'SIGINT', graceSeconds: 3, maxOutputBytes: 5, pack: null,
    })
    expect(await host.tasks.get(id)).toMatchObject({ gpuIds: [1], submitter: 'klaus', target: 'a:1::1' })
    expect(host.tasks.toNode(host.nodes.get('a'))).toMatchObject({ coresReserved: 2, memoryReservedBytes: 1e8, gpusReserved: [1], tasks: 1 })
  })

  it('picks GPUs by their number and memory, and gives none twice', async () => {
    await host.register('a', { cores: 8, gpus: [gpu(0, 8e9), gpu(1), gpu(2)] })
    const ids = [await host.submitOne({ gpus: 1, gpuMemoryBytes: 2e10 }), await host.submitOne({ gpus: 1, gpuMemoryBytes: 2e10 }), await host.submitOne({ gpus: 1, gpuMemoryBytes: 2e10 })]
    await host.node.ordered(ids[1] ?? '')
    await host.planned()
    const given = await Promise.all(ids.map(async (id) => (await host.tasks.get(id)).gpuIds))
    expect(given.flat().toSorted()).toEqual([1, 2])
  })

  it('without an environment goes to nodes that take plain processes', async () => {
    await host.register('a')
    await expect(host.submit({ environment: null })).rejects.toThrow(refusal('node.too_small', 'runner.plain_processes'))
    await host.register('b', { plainProcesses: true })
    const id = await host.submitOne({ environment: null, command: ['hostname'] })
    await host.node.ordered(id)
    expect(host.node.orders.get(id)).toMatchObject({ image: null, mounts: [], userMounts: [], user: null })
    const own = await host.submitOne({ environment: null, user: '7' })
    await host.node.ordered(own)
    expect(host.node.orders.get(own)).toMatchObject({ user: '7' })
    expect(await host.tasks.get(id)).toMatchObject({ node: 'b', environment: null, version: null })
  })

  it.each([
    [{ env: { HAKURIVER_TASK_ID: 'x' } }, 'task.command_invalid', 'HAKURIVER_TASK_ID'],
    [{ env: { 'A B': 'x' } }, 'task.command_invalid', '"A B" is no name of an environment variable'],
    [{ env: { 'A=B': 'x' } }, 'task.command_invalid', '"A=B" is no name of an environment variable'],
    [{ mounts: ['/srv:/'] }, 'task.command_invalid', 'would hide the whole container'],
    [{ mounts: ['/srv/a:/a', '/srv/b:/a/'] }, 'task.command_invalid', 'Two mounts have the target "/a"'],
    [{ mounts: ['/srv/a:/opt'] }, 'task.command_invalid', 'docker.additional_mounts'],
    [{ privileged: true }, 'task.not_allowed', 'docker.allow_privileged'],
    [{ network: 'host' }, 'task.not_allowed', 'docker.allowed_networks'],
    [{ environment: null, network: 'none' }, 'task.command_invalid', 'a network'],
    [{ environment: null, mounts: ['/srv:/srv'] }, 'task.command_invalid', 'mounts'],
    [{ environment: null, privileged: true }, 'task.command_invalid', 'privileges'],
    [{ environment: null, version: 7 }, 'task.command_invalid', 'a version'],
    [{ targets: ['a:7'] }, 'node.too_small', 'NUMA node 7'],
    [{ targets: ['a::3'] }, 'node.too_small', 'GPU 3'],
    [{ gpus: 2 }, 'node.too_small', 'The nearest is a'],
    [{ cores: 5 }, 'node.too_small', '4 of the 5 cores'],
    [{ targets: ['ghost'] }, 'node.not_found', 'Known nodes: a'],
    [{ mounts: ['/etc:/x'] }, 'task.mount_not_allowed', '/etc'],
  ])('%j is refused, and nothing is created', async (body, code, message) => {
    await host.register('a')
    await expect(host.submit(body)).rejects.toThrow(refusal(code, message))
    await expect(host.tasks.preview(submitBody.parse({ command: ['true'], environment: 'my-env', ...body }))).rejects.toThrow(refusal(code))
    expect((await host.tasks.list({ limit: 10, level: 'all' })).items).toEqual([])
  })

  it('takes what the kernel takes, and no more', async () => {
    await host.register('a')
    const word = 'x'.repeat(131_071)
    const id = await host.submitOne({ command: ['echo', word], env: { A: 'ä'.repeat(65_534) } })
    await host.node.ordered(id)
    expect(host.node.orders.get(id)?.command[1]).toHaveLength(131_071)
    const limits = 'more than the kernel takes: 131,071 bytes for one word (128 KiB with the NUL behind it), 2 MiB in all.'
    const refused: [Partial<SubmitInput>, string][] = [
      [{ command: ['echo', `${word.slice(1)}ä`] }, `Word 2 of the command has 131,072 bytes, ${limits}`],
      [{ env: { A: 'ä'.repeat(65_535) } }, `The environment variable "A" has 131,072 bytes with its name, ${limits}`],
      [{ command: ['echo', ...Array.from({ length: 15 }, () => word)], env: { A: word.slice(50_000) } }, 'The command and its environment variables have 2,047,295 bytes'],
      [{ command: ['echo', ...Array.from({ length: 10 }, () => word)], targets: Array.from({ length: 60 }, () => 'a') }, 'for each of 60 targets'],
    ]
    for (const [body, message] of refused) await expect(host.submit(body)).rejects.toThrow(refusal('task.command_invalid', message))
  })

  it('is listed in pages that one answer can carry', async () => {
    const command = ['echo', ...Array.from({ length: 10 }, () => 'x'.repeat(100_000))]
    for (let count = 0; count < 10; count++) await host.submit({ command, name: `t${count}` })
    const first = await host.tasks.list({ limit: 1000, level: 'all' })
    const second = await host.tasks.list({ limit: 1000, level: 'all', cursor: first.nextCursor ?? undefined })
    expect([...first.items, ...second.items].map(({ name }) => name)).toEqual(Array.from({ length: 10 }, (_, count) => `t${9 - count}`))
    expect([first.items.length, second.nextCursor]).toEqual([8, null])
  })

  it.each([['2147483647:0', true], ['2147483648', false], ['0:4294967295', false]])('as user %s: %s', (user, isTaken) => {
    expect(submitBody.safeParse({ command: ['true'], environment: 'my-env', user }).success).toBe(isTaken)
  })

  it.each<[string, object]>([
    ['half a character', { command: ['echo', 'a\ud800'] }],
    ['a NUL', { command: ['echo', 'a\0'] }],
    ['half a character', { env: { A: '\udc00' } }],
    ['half a character', { name: '\ud800' }],
    ['a NUL', { submitter: '\0' }],
    ['half a character', { items: { kind: 'lines', lines: ['\ud800'] } }],
  ])('that has %s in its text is refused: %j', (_, body) => {
    expect(submitBody.safeParse({ command: ['true'], environment: 'my-env', ...body }).error?.issues[0]?.message).toMatch(/^contains a NUL character$|^is not valid Unicode/)
  })

  it('with a key makes nothing the second time, and is answered like the first', async () => {
    const first = await host.submit({ key: 'a key of mine', command: ['one'] })
    expect(await host.submit({ key: 'a key of mine', command: ['one'] })).toEqual(first)
    await host.restart()
    expect((await host.submit({ key: 'a key of mine', command: ['one'] })).map(({ id }) => id)).toEqual(first.map(({ id }) => id))
    expect((await host.tasks.list({ limit: 10, level: 'all' })).items).toHaveLength(1)
  })

  it('with the key of another is refused, also while that one is on its way', async () => {
    const first = host.submit({ key: 'a key of mine', command: ['one'] })
    await expect(host.submit({ key: 'a key of mine', command: ['two'] })).rejects.toThrow(refusal('task.key_used'))
    await first
    await host.restart()
    await expect(host.submit({ key: 'a key of mine', command: ['two'] })).rejects.toThrow(refusal('task.key_used', 'a key of its own'))
    expect((await host.tasks.list({ limit: 10, level: 'all' })).items).toHaveLength(1)
  })

  it('with a key is one, however many come at once', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => host.submit({ key: 'the same key' })))
    expect(new Set(all.map(([task]) => task?.id)).size).toBe(1)
    await host.register('a')
    const batch = await host.submit({ key: 'a whole batch', targets: ['a', 'a'] })
    expect((await host.submit({ key: 'a whole batch', targets: ['a', 'a'] })).map(({ id }) => id)).toEqual(batch.map(({ id }) => id))
    const array = await host.submitOne({ key: 'a whole array', items: { kind: 'array', indexes: '1-5' } })
    expect(await host.submitOne({ key: 'a whole array', items: { kind: 'array', indexes: '1-5' } })).toBe(array)
  })

  it('with a key makes another one after a day', async () => {
    const HOUR_MS = 3_600_000
    // By a clock that nobody sets.
    vi.useFakeTimers({ toFake: ['performance'] })
    const first = await host.submitOne({ key: 'a key of mine' })
    vi.advanceTimersByTime(HOUR_MS)
    await host.submitOne({ key: 'an hour later' })
    vi.advanceTimersByTime(22 * HOUR_MS)
    expect(await host.submitOne({ key: 'a key of mine' })).toBe(first)
    vi.advanceTimersByTime(2 * HOUR_MS)
    await host.submitOne({ key: 'and another' })
    await expect.poll(() => host.database.selectFrom('submit_keys').select('key').orderBy('number').execute()).toEqual([{ key: 'an hour later' }, { key: 'and another' }])
    expect(await host.submitOne({ key: 'a key of mine' })).not.toBe(first)
  })

  it('that is refused leaves its key free', async () => {
    await host.register('a')
    await expect(host.submit({ key: 'try again', cores: 9 })).rejects.toThrow(refusal('node.too_small'))
    expect(await host.submit({ key: 'try again' })).toHaveLength(1)
  })

  it('waits while its version can not be found in the storage, and says so', async () => {
    const id = await host.submitOne()
    await host.tarballs.remove('my-env', 7)
    await host.restart()
    await host.register('a')
    await host.planned()
    expect(await host.tasks.get(id)).toMatchObject({ state: 'queued', message: expect.stringContaining('has no version') as unknown })
  })

  it('waits once its version was moved away, even if it was seen before', async () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const id = await host.submitOne()
    await host.planned()
    await host.tarballs.remove('my-env', 7)
    vi.advanceTimersByTime(1000)
    await host.register('a')
    await host.planned()
    expect(await host.tasks.get(id)).toMatchObject({ state: 'queued', message: expect.stringContaining('has no version') as unknown })
    await host.publish(7)
    vi.advanceTimersByTime(10_000)
    await host.planned()
    await host.node.ordered(id)
  })

  it('many at once are all there, with one question to the storage for many', async () => {
    const all = await Promise.all(Array.from({ length: 500 }, (_, index) => host.submitOne({ command: [String(index)], hold: true })))
    expect(new Set(all).size).toBe(500)
    await host.restart()
    expect(host.store.live.waiting()).toHaveLength(500)
  })
})

describe('events', () => {
  it('tell who did what, when and where', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    await host.tasks.pause(id, 'eva')
    await host.tasks.resume(id, 'eva')
    await host.tasks.kill(id)
    await host.report(id, { state: 'killed', reason: 'user', exitCode: 143 })
    await host.restart()
    const { events } = await host.tasks.get(id)
    expect(events.map(({ event, by, instance, node }) => [event, by, instance, node])).toEqual([
      ['submitted', 'user klaus', 0, null], ['assigned', 'host', 1, 'a'], ['running', 'node a', 1, 'a'], ['pause', 'user eva', 1, 'a'], ['paused', 'node a', 1, 'a'],
      ['resume', 'user eva', 1, 'a'], ['running', 'node a', 1, 'a'], ['kill', 'user', 1, 'a'], ['killed', 'node a', 1, 'a'],
    ])
    expect(events.at(-1)?.message).toBe('exit code 143')
    expect(events.map(({ time }) => time)).toEqual(events.map(({ time }) => time).toSorted())
  })

  it('are bounded: of very many the ones in the middle go', async () => {
    const id = await host.submitOne({ hold: true })
    for (let round = 0; round < 80; round++) {
      await host.tasks.release(id, String(round))
      await host.tasks.hold(id, String(round))
    }
    const { events } = await host.tasks.get(id)
    expect(events).toHaveLength(100)
    expect([events[0]?.event, events[1]?.by, events.at(-1)?.by]).toEqual(['submitted', 'user 0', 'user 79'])
  })
})
