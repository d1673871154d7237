import type { IncomingMessage, ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import type { z } from 'zod'
import type { Endpoint, EndpointInput } from '#core/api/endpoint.ts'
import { createMatcher } from '#core/api/match.ts'
import { runnerApi, type RunnerApi } from '#core/api/runner.ts'
import { HakuError } from '#core/errors.ts'
import { sendProblem } from '#core/http/problems.ts'
import { version } from '#core/version.ts'
import type { FakeTasks } from './fake-tasks.ts'
import type { Dice } from './faults.ts'
import type { Gate } from './gate.ts'
import type { Ledger } from './ledger.ts'
import type { Handle } from './listener.ts'

export interface CallHandlerOptions {
  tasks: FakeTasks
  /** What the Host has to show. */
  hostToken: string
  /** Of the Runner that listens now. */
  instanceId(): string
  dice: Dice
  gate: Gate
  ledger: Ledger
}

/** Answers the Host's calls to one node, strictly by the contract. */
export function createCallHandler({ tasks, hostToken, instanceId, dice, gate, ledger: { counters } }: CallHandlerOptions): Handle {
  const answers: Answers = {
    getHealth: () => ({ status: 'ok', version, problems: [] }),
    putTask: ({ body }) => tasks.accept(body),
    killTask: ({ params, body }) => tasks.kill({ ...params, ...body }),
    pauseTask: ({ params, body }) => tasks.pause({ ...params, ...body }),
    resumeTask: ({ params, body }) => tasks.resume({ ...params, ...body }),
    getTaskOutput: () => '',
    putImage({ body }) {
      tasks.hold(body)
      return { state: 'ready', sync: null, message: null }
    },
    cancelImage: () => undefined,
    getLayer: ({ params }) => {
      throw new HakuError('layer.not_found', `This node has no layer ${params.digest}.`)
    },
  }

  async function answer(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
    const heardBy = instanceId()
    const body: unknown = request.headers['content-length'] === undefined ? undefined : await json(request)
    await gate.passed()
    // Its successor never hears what a Runner that was killed had not read.
    if (instanceId() !== heardBy) throw new Error('the Runner is gone')
    const { id, params, query } = find(request, hostToken)
    const endpoint = runnerApi[id]
    const work = answers[id] as (input: unknown) => unknown
    return { status: endpoint.response.status, body: work({ params, query, body: 'body' in endpoint ? parse(endpoint.body, body) : undefined }) }
  }

  return async (request, response) => {
    if (dice.happens('dropRequests')) {
      counters.droppedRequests += 1
      request.socket.destroy()
      return
    }
    const result = await answer(request).catch((error: unknown) => ({ error }))
    const delay = dice.delayMs()
    if (delay > 0) await setTimeout(delay)
    await gate.passed()
    if (dice.happens('dropAnswers')) {
      counters.droppedAnswers += 1
      request.socket.destroy()
    } else if ('error' in result) sendProblem(response, result.error)
    else send(response, result)
  }
}

// --- internal ---

type Id = keyof RunnerApi
type Answers = { [E in Id]: (input: EndpointInput<RunnerApi[E]>) => unknown }

const match = createMatcher(runnerApi)
const ids = new Map<Endpoint, Id>((Object.keys(runnerApi) as Id[]).map((id) => [runnerApi[id], id]))

function find(request: IncomingMessage, hostToken: string): { id: Id; params: Record<string, string>; query: Record<string, string> } {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  const found = match(request.method ?? '', pathname)
  const id = typeof found === 'object' ? ids.get(found.endpoint) : undefined
  if (typeof found !== 'object' || id === undefined) throw new HakuError('endpoint.not_found', `A Runner has no endpoint ${request.method} ${pathname}.`)
  if (found.endpoint.role !== 'public' && request.headers.authorization !== `Bearer ${hostToken}`) throw new HakuError('auth.invalid_token', 'The token is not the one of this node.')
  return { id, params: found.params, query: Object.fromEntries(searchParams) }
}

function parse(schema: z.ZodType, body: unknown): unknown {
  const { success, data, error } = schema.safeParse(body)
  if (!success) throw new HakuError('request.invalid', `The body is not what the contract says: ${error.message}`, { cause: error })
  return data
}

function send(response: ServerResponse, { status, body }: { status: number; body: unknown }): void {
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
  response.writeHead(status, { 'content-type': 'application/json' }).end(text)
}
