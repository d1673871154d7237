import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, rmdirSync, symlinkSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json, text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SubmitInput, Task } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { labels } from '#core/paths.ts'
import { outputHeaders } from '#core/tasks/output-file.ts'
import { type Cluster, startCluster, untilOnline } from '#test/support/cluster.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'

describe.skipIf(engineMissing)('a cluster whose Host sees the shared directory through a mount of its own', () => {
  const name = `output-${createId().slice(-8)}`
  let cluster: Cluster
  /** What stands where the Host has mounted it. */
  let shared: { host: string; real: string }

  beforeAll(async () => {
    await ensureBusybox(socketPath)
    cluster = await startCluster({
      hostSocket: socketPath, nodes: { [name]: socketPath }, config: { timing: { heartbeat_interval: 0.2, heartbeat_timeout_factor: 5 } },
      nodeConfig(_hostname, _ports, directory) {
        shared = { host: join(directory, 'shared'), real: join(directory, 'real') }
        renameSync(shared.host, shared.real)
        mount()
        return Promise.resolve({ paths: { shared_dir: shared.real } })
      },
    })
    for (const [command, ...args] of [['create-container', 'busybox:latest', name], ['create-tar', name]] as const) {
      const { code, stderr } = await cluster.run('hakuriver.docker', [command, ...args])
      expect(code, stderr).toBe(0)
    }
  }, 120_000)
  afterAll(async () => {
    await cluster?.client.call('deleteContainer', { params: { name } })
    await cluster?.stop()
    for (const { id } of await testEngine().listContainers({ [labels.node]: name })) await testEngine().removeContainer(id)
    await testEngine().removeImage(`hakuriver/${name}:base`)
  }, 60_000)

  const mount = () => symlinkSync(shared.real, shared.host)
  function unmount(): void {
    unlinkSync(shared.host)
    mkdirSync(shared.host)
  }

  const sh = async (script: string, more: Partial<SubmitInput> = {}): Promise<string> => {
    const { tasks } = await cluster.client.call('submitTask', { body: { command: ['sh', '-c', script], environment: name, cores: 0, ...more } })
    return tasks[0]?.id ?? ''
  }
  const open = (id: string, query: Record<string, string | number>) => cluster.client.stream('getTaskStdout', { params: { id }, query })
  const read = async (id: string, query: Record<string, string | number> = {}) => text(await open(id, query))
  const ended = (id: string) => cluster.client.call('getTask', { params: { id }, query: { wait: 60 }, timeoutMs: 70_000 })
  const node = () => cluster.client.call('getNode', { params: { hostname: name } })

  it('a task is followed from before it begins to its end, every byte', async () => {
    const id = await sh('for i in $(seq 2000); do echo line $i; done; sleep 0.5; echo last')
    const whole = [...Array.from({ length: 2000 }, (_, index) => `line ${index + 1}`), 'last', ''].join('\n')
    expect(await read(id, { follow: 'true' })).toBe(whole)
    expect(await read(id)).toBe(whole)
    expect(await read(id, { offset: whole.length - 5 })).toBe('last\n')
    const tail = await open(id, { tail: 2 })
    expect([tail.headers[outputHeaders.offset], tail.headers[outputHeaders.instance], await text(tail)]).toEqual([String(whole.length - 15), '1', 'line 2000\nlast\n'])
  })

  it('a range of HTTP is a part', async () => {
    const id = await sh('echo 0123456789')
    await ended(id)
    const outgoing = request(`${cluster.url}/api/tasks/${id}/stdout`, { headers: { authorization: `Bearer ${cluster.token}`, range: 'bytes=2-4' } }).end()
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    expect([response.statusCode, response.headers['content-range'], await text(response)]).toEqual([206, 'bytes 2-4/11', '234'])
  })

  it('what the Host does not see comes through the node, while it is written too', async () => {
    const id = await sh('echo one; echo two; while [ ! -e /shared/go ]; do sleep 0.1; done; echo three')
    await expect.poll(() => read(id), { timeout: 20_000 }).toBe('one\ntwo\n')
    unmount()
    try {
      expect(await read(id, { offset: 4 })).toBe('two\n')
      const stream = await open(id, { tail: 1, follow: 'true' })
      expect(stream.headers[outputHeaders.offset]).toBe('4')
      mkdirSync(join(shared.real, 'shared_data', 'go'))
      expect(await text(stream)).toBe('two\nthree\n')
      await cluster.runners[name]?.stop()
      await expect.poll(async () => (await node()).state, { timeout: 20_000 }).toBe('offline')
      await expect(read(id)).rejects.toThrow(expect.objectContaining({ code: 'node.unreachable' }))
    } finally {
      rmdirSync(shared.host)
      mount()
      await cluster.startRunner(name)
    }
    await untilOnline(cluster, [name])
    expect(await read(id)).toBe('one\ntwo\nthree\n')
  })

  it('a drained node gets no task, over restarts, and the undrained one gets what waited', async () => {
    await cluster.client.call('drainNode', { params: { hostname: name }, body: { reason: 'a new disk' } })
    const id = await sh('echo at last')
    await cluster.host.stop('SIGKILL')
    await cluster.runners[name]?.stop('SIGKILL')
    await cluster.startHost()
    await cluster.startRunner(name)
    await untilOnline(cluster, [name])
    expect((await node()).drained).toMatchObject({ reason: 'a new disk' })
    expect(await cluster.client.call('getTask', { params: { id } })).toMatchObject({ state: 'queued', node: null })
    await cluster.client.call('undrainNode', { params: { hostname: name } })
    expect(await ended(id)).toMatchObject({ state: 'succeeded' })
  })

  describe('somebody who wants to be told', () => {
    let server: Server
    let url: string
    const posted: Task[] = []
    async function take(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
      posted.push((await json(incoming)) as Task)
      response.writeHead(204).end()
    }
    beforeAll(async () => {
      server = createServer((incoming, response) => void take(incoming, response))
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
    })
    afterAll(() => void server.close())

    it('is told of the end once', async () => {
      const id = await sh('exit 3', { notifyUrl: url })
      await expect.poll(() => posted.length, { timeout: 20_000 }).toBe(1)
      expect(posted[0]).toMatchObject({ id, state: 'failed', exitCode: 3, notifyUrl: url })
    })

    it('is told by the next Host, if this one dies before the end', async () => {
      const id = await sh('while [ ! -e /shared/end ]; do sleep 0.1; done', { notifyUrl: url })
      await expect.poll(async () => (await cluster.client.call('getTask', { params: { id } })).state, { timeout: 20_000 }).toBe('running')
      await cluster.host.stop('SIGKILL')
      mkdirSync(join(shared.real, 'shared_data', 'end'))
      await cluster.startHost()
      await expect.poll(() => posted.length, { timeout: 30_000 }).toBe(2)
      expect(posted[1]).toMatchObject({ id, state: 'succeeded' })
      expect(readFileSync(join(shared.real, 'task_outputs', `${id}.out`), 'utf8')).toBe('')
    })
  })

  it('a node is removed only when it is away, and what it had is lost for good', async () => {
    const id = await sh('sleep 1000')
    await expect.poll(async () => (await cluster.client.call('getTask', { params: { id } })).state, { timeout: 20_000 }).toBe('running')
    await expect(cluster.client.call('removeNode', { params: { hostname: name } })).rejects.toThrow(expect.objectContaining({ code: 'node.online' }))
    await cluster.runners[name]?.stop()
    await expect.poll(async () => (await node()).state, { timeout: 20_000 }).toBe('offline')
    await cluster.client.call('removeNode', { params: { hostname: name } })
    expect(await ended(id)).toMatchObject({ state: 'lost', reason: 'node_removed' })
    await cluster.startRunner(name)
    await untilOnline(cluster, [name])
    // It has to end what it still runs.
    await expect.poll(() => testEngine().listContainers({ [labels.task]: id }), { timeout: 20_000 }).toEqual([])
    expect(await cluster.client.call('getTask', { params: { id } })).toMatchObject({ state: 'lost', reason: 'node_removed' })
  })
})
