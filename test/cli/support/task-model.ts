import { EventEmitter, once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { HostApi } from '#core/api/host.ts'
import type { Task, TaskDetails } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import { exitMessage } from './samples.ts'
import type { StubAnswer, StubRequest } from './stub-host.ts'

type Stream = 'stdout' | 'stderr'

/** One task of the model, in the hands of the test. */
export interface ModelTask {
  readonly now: TaskDetails
  set(more: Partial<TaskDetails>): void
  /** In its present execution. */
  print(stream: Stream, text: string): void
  /** It was given to a node, for the next time. */
  begin(): void
  end(exitCode: number | null, more?: Partial<TaskDetails>): void
}

export interface TaskModel {
  answers: Partial<Record<keyof HostApi, StubAnswer>>
  task(id: string): ModelTask
  add(task: Task): ModelTask
}

/** Tasks that live as the contract says: answers are held until the end, outputs belong to executions and can be followed. */
export function createTaskModel(...given: Task[]): TaskModel {
  const tasks = new Map<string, ReturnType<typeof createModelTask>>()
  const add = (task: Task) => {
    const model = createModelTask(task)
    tasks.set(task.id, model)
    return model
  }
  given.forEach(add)
  const find = ({ params }: Pick<StubRequest, 'params'>) => {
    const found = tasks.get(params['id'] ?? '')
    if (!found) throw new HakuError('task.not_found', `There is no task ${params['id']}.`)
    return found
  }
  return {
    add,
    task: (id) => find({ params: { id } }),
    answers: {
      submitTask: () => ({ tasks: given.map(({ id }) => find({ params: { id } }).now) }),
      async getTask(request) {
        const found = find(request)
        await found.untilFinal(Number(request.query.get('wait') ?? 0) * 1000)
        return found.now
      },
      killTask(request) {
        const found = find(request)
        if (isFinal(found.now.state)) throw new HakuError('task.finished', 'It has ended.')
        found.set({ wish: 'kill' })
        return found.now
      },
      listTasks: ({ query }) => ({ items: [...tasks.values()].map(({ now }) => now).filter(({ batch }) => query.get('batch') === null || batch === query.get('batch')).toReversed(), nextCursor: null }),
      getTaskStdout: (request) => find(request).send('stdout', request),
      getTaskStderr: (request) => find(request).send('stderr', request),
    },
  }
}

// --- internal ---

function createModelTask(task: Task) {
  const changes = new EventEmitter().setMaxListeners(0)
  const outputs = new Map<string, string>()
  let now: TaskDetails = { events: [], ...task }
  const set = (more: Partial<TaskDetails>) => {
    now = { ...now, ...more }
    changes.emit('change')
  }

  return {
    get now() {
      return now
    },
    set,
    print(stream: Stream, text: string) {
      const key = `${stream} ${now.instance}`
      outputs.set(key, (outputs.get(key) ?? '') + text)
      changes.emit('change')
    },
    begin: () => set({ state: 'running', instance: now.instance + 1, node: 'node1', started: now.submitted }),
    end: (exitCode: number | null, more: Partial<TaskDetails> = {}) => set({ state: exitCode === 0 ? 'succeeded' : 'failed', reason: 'exited', message: exitMessage(exitCode), exitCode, finished: now.submitted, ...more }),
    async untilFinal(ms: number) {
      const signal = ms > 0 ? AbortSignal.timeout(ms) : AbortSignal.abort()
      while (!isFinal(now.state) && !signal.aborted) await once(changes, 'change', { signal }).catch(() => {})
    },
    async send(stream: Stream, { query, response }: StubRequest) {
      const instance = Number(query.get('instance') ?? now.instance)
      const text = () => Buffer.from(outputs.get(`${stream} ${instance}`) ?? '', 'latin1')
      let position = query.has('tail') ? tailOf(text(), Number(query.get('tail'))) : Number(query.get('offset') ?? 0)
      response.writeHead(200, { 'hakuriver-offset': position, 'hakuriver-instance': instance }).flushHeaders()
      for (;;) {
        const isOver = query.get('follow') !== 'true' || isFinal(now.state) || now.state === 'queued' || now.instance > instance
        const part = text().subarray(position)
        position += part.length
        if (part.length > 0) response.write(part)
        if (isOver) break
        await changedOrGone(changes, response)
        if (response.destroyed) return
      }
      response.end()
    },
  }
}

function tailOf(bytes: Buffer, lines: number): number {
  const text = bytes.toString('latin1')
  const kept = text.split(/(?<=\n)/).slice(-lines || Infinity)
  return text.length - kept.join('').length
}

async function changedOrGone(changes: EventEmitter, response: ServerResponse): Promise<void> {
  const over = new AbortController()
  await Promise.race([once(changes, 'change', { signal: over.signal }), once(response, 'close', { signal: over.signal })]).catch(() => {})
  over.abort()
}
