import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import type { Execution, HeartbeatBody, RegisterBody, TaskReport } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { sendProblem } from '#core/http/problems.ts'
import { executionKey } from '#core/tasks/execution-key.ts'

/** A small model of a Host: it takes registrations, beats and reports, and fails on demand. */
export interface StubHost {
  port: number
  token: string
  registrations: RegisterBody[]
  heartbeats: HeartbeatBody[]
  /** Every report, in the order of arrival. */
  reports: TaskReport[]
  knobs: {
    /** The next answers to registrations are this error. */
    refuseRegistration: HakuError | undefined
    /** A Host that lost its memory: beats and reports of unregistered Runners are refused. */
    isForgetful: boolean
    acknowledges: boolean
    /** Why it does not take these together, if it does not. */
    refuseReports(reports: readonly TaskReport[]): HakuError | undefined
    /** Ids of tasks, or of their executions as `id-instance`, that it does not want there. */
    unknown: Set<string>
    heartbeatSeconds: number
    /** A Host that was started again. */
    wantsHoldings: boolean
    /** Called before a beat is answered. */
    beforeBeat: () => Promise<void> | void
  }
  /** Resolves once `check` holds; looked at after each request. */
  until(what: string, check: () => boolean): Promise<void>
  /** The first report of `id` that is final; of its first instance unless said. */
  untilFinal(id: string, instance?: number): Promise<TaskReport>
  untilState(id: string, state: TaskReport['state'], instance?: number): Promise<TaskReport>
  /** Resolves once so many beats in a row, from now on, have not come. */
  untilSilent(beats: number): Promise<void>
  /** Stops listening, and cuts what is open. */
  stop(): Promise<void>
  /** Listens on the same port again. */
  restart(): Promise<void>
}

const FINAL = new Set(['succeeded', 'failed', 'killed', 'out_of_memory', 'timed_out'])
const PATIENCE_MS = 45_000

export async function startStubHost(port = 0): Promise<StubHost> {
  const changes = new EventEmitter().setMaxListeners(0)
  let server = await listen(port)
  let lastBeat = performance.now()

  function listen(wanted: number): Promise<Server> {
    const created = createServer((request, response) => {
      answer(request, response).catch((error: unknown) => sendProblem(response, error)).finally(() => changes.emit('request'))
    })
    return new Promise((resolve, reject) => created.once('error', reject).listen(wanted, '127.0.0.1', () => resolve(created)))
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await json(request)
    if (request.headers.authorization !== `Bearer ${host.token}`) throw new HakuError('auth.invalid_token', 'The token is not known here.')
    const send = (status: number, value?: unknown) => response.writeHead(status, { 'content-type': 'application/json' }).end(value === undefined ? undefined : JSON.stringify(value))
    if (request.url === '/api/runners/register') {
      if (host.knobs.refuseRegistration) throw host.knobs.refuseRegistration
      host.registrations.push(body as RegisterBody)
      host.knobs.isForgetful = false
      return void send(200, { heartbeatSeconds: host.knobs.heartbeatSeconds })
    }
    if (host.knobs.isForgetful) throw new HakuError('node.not_found', 'There is no such node.')
    if (request.url?.endsWith('/heartbeat')) {
      host.heartbeats.push(body as HeartbeatBody)
      lastBeat = performance.now()
      await host.knobs.beforeBeat()
      return void send(200, { wantsHoldings: host.knobs.wantsHoldings })
    }
    const { reports } = body as { reports: TaskReport[] }
    const refusal = host.knobs.refuseReports(reports)
    if (refusal) throw refusal
    host.reports.push(...reports)
    const executions = reports.map(({ id, instance }) => ({ id, instance }))
    const isUnknown = ({ id, instance }: Execution) => host.knobs.unknown.has(id) || host.knobs.unknown.has(executionKey({ id, instance }))
    send(200, { acknowledged: host.knobs.acknowledges ? executions.filter((execution) => !isUnknown(execution)) : [], unknown: executions.filter(isUnknown) })
  }

  const host: StubHost = {
    port: (server.address() as AddressInfo).port,
    token: 'stub-runner-token-of-32-characters-or-more',
    registrations: [],
    heartbeats: [],
    reports: [],
    knobs: { refuseRegistration: undefined, isForgetful: false, acknowledges: true, refuseReports: () => undefined, unknown: new Set(), heartbeatSeconds: 0.2, wantsHoldings: false, beforeBeat: () => undefined },
    async until(what, check) {
      const signal = AbortSignal.timeout(PATIENCE_MS)
      while (!check()) {
        await once(changes, 'request', { signal }).catch(() => {
          throw new Error(`waited in vain for: ${what}. Last reports: ${JSON.stringify(host.reports.slice(-5))}`)
        })
      }
    },
    async untilFinal(id, instance = 1) {
      const find = () => host.reports.find((report) => report.id === id && report.instance === instance && FINAL.has(report.state))
      await host.until(`the end of ${id}`, () => find() !== undefined)
      return find() as TaskReport
    },
    async untilState(id, state, instance = 1) {
      const find = () => host.reports.findLast((report) => report.id === id && report.instance === instance)
      await host.until(`${id} to be ${state}`, () => find()?.state === state)
      return find() as TaskReport
    },
    async untilSilent(beats) {
      const from = performance.now()
      const left = () => Math.max(from, lastBeat) + beats * host.knobs.heartbeatSeconds * 1000 - performance.now()
      while (left() > 0) await setTimeout(left())
    },
    async stop() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
    async restart() {
      server = await listen(host.port)
    },
  }
  return host
}
