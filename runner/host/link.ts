import { readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { type HostApi, hostApi } from '#core/api/host.ts'
import type { Execution, NodeHoldings, RegisterBody, TaskReport } from '#core/api/schemas.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { HakuError, errorMessage, isHakuError } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { createBackoff } from '../backoff.ts'
import type { EngineFacts } from '../hardware/engine-info.ts'
import type { Usage } from '../hardware/usage.ts'
import { createBell } from './bell.ts'
import { createBatches } from './batches.ts'
import { createProblemLog } from './problem-log.ts'

/** What the link carries. */
export interface LinkOptions {
  /** `http://host:port` of the Host. */
  url: string
  /** File with the token of Runners. Read at each registration: the Host may write it later than we start. */
  tokenFile: string
  self: Omit<RegisterBody, 'engine' | 'holdings'>
  engineFacts(): Promise<EngineFacts>
  /** What the Engine has; `undefined` while it does not answer. */
  holdings(): Promise<NodeHoldings | undefined>
  usage(): Usage
  active(): Execution[]
  outbox(): TaskReport[]
  acknowledge(reports: readonly TaskReport[]): void
  disown(execution: Execution): void
  /** The Host may have decided otherwise meanwhile: reports everything that is under way once more. */
  retell(): void
  /** After each registration; the Host expects a beat every so many seconds. */
  onRegistered(heartbeatSeconds: number): void
  closing: AbortSignal
}

export interface Link {
  /** The outbox has grown. What is not `urgent` may wait a moment, and is overtaken by what comes then. */
  news(urgent: boolean): void
  /** For further calls to the Host; `undefined` before the first registration. */
  client(): Client<HostApi> | undefined
  /** Why the Host does not hear us; `undefined`: it does. */
  trouble(): HakuError | undefined
  /** Registers, beats and reports until `closing` fires. */
  run(): Promise<void>
}

const CALL_TIMEOUT_MS = 10_000
const BACKOFF = { firstMs: 500, maxMs: 15_000 }
/** Most tasks are short: their steps within this time make one report. */
const GATHER_MS = 50
/** A beat that comes after so many intervals: the process was stopped, or the machine asleep. */
const FROZEN_BEATS = 2

/** The Runner's way to its Host. Nothing that goes wrong with it ends it, and each reason is logged once. */
export function createLink(options: LinkOptions): Link {
  const { closing, self } = options
  const { hostname, instanceId } = self
  const problems = createProblemLog(new HakuError('host.unreachable', `The Host at ${options.url} has not answered yet.`))
  const reportProblems = createProblemLog()
  const bell = createBell(GATHER_MS)
  const batches = createBatches()
  let client: Client<HostApi> | undefined
  let pause = new AbortController()
  /** The holdings that the Host knows of, as JSON. */
  let told: string | undefined

  async function register(): Promise<number> {
    const backoff = createBackoff(BACKOFF)
    for (;;) {
      try {
        client?.close()
        client = createClient({ api: hostApi, url: options.url, token: await readToken(options.tokenFile), unreachable: 'host.unreachable' })
        const [engine, holdings] = await Promise.all([options.engineFacts(), options.holdings()])
        const body = { ...self, engine, ...(holdings && { holdings }) }
        const { heartbeatSeconds } = await client.call('registerRunner', { body, signal: closing, timeoutMs: CALL_TIMEOUT_MS })
        told = JSON.stringify(holdings)
        // It may be another Host than the one that has refused some.
        batches.forgive()
        problems.over(`registered ${hostname} with the Host at ${options.url}`)
        return heartbeatSeconds
      } catch (error) {
        closing.throwIfAborted()
        problems.tell(error)
      }
      await backoff.wait(closing)
    }
  }

  async function beat(): Promise<void> {
    const [engine, holdings] = await Promise.all([options.engineFacts(), options.holdings()])
    const news = JSON.stringify(holdings)
    const body = { instanceId, usage: options.usage(), engine, tasks: options.active(), ...(news !== told && { holdings }) }
    const answer = await client?.call('heartbeat', { params: { hostname }, body, signal: closing, timeoutMs: CALL_TIMEOUT_MS })
    if (holdings) told = answer?.wantsHoldings ? undefined : news
    if (!problems.current()) return
    problems.over(`the Host at ${options.url} answers again`)
    options.retell()
    pause.abort()
  }

  /** Beats until the Host wants a new registration. */
  async function beatOn(heartbeatSeconds: number): Promise<void> {
    // From one look to the next: it may have been stopped in the middle of a beat.
    let slept = startWatch()
    for (;;) {
      await setTimeout(heartbeatSeconds * 1000, undefined, { signal: closing })
      if (slept() > FROZEN_BEATS * heartbeatSeconds * 1000) {
        console.error('[hakuriver] [runner] this Runner did not run for some time: it asks the Host what is still wanted')
        options.retell()
      }
      slept = startWatch()
      try {
        await beat()
      } catch (error) {
        closing.throwIfAborted()
        problems.tell(error)
        // A refused token may have been replaced, so that is read again too.
        if (isHakuError(error) && (error.kind === 'unauthenticated' || error.code === 'node.not_found')) return
      }
    }
  }

  async function stayRegistered(): Promise<void> {
    let hasRegistered = false
    for (;;) {
      const heartbeatSeconds = await register()
      options.onRegistered(heartbeatSeconds)
      // At the first time all that is under way tells of itself.
      if (hasRegistered) options.retell()
      hasRegistered = true
      pause.abort()
      bell.ring(true)
      await beatOn(heartbeatSeconds)
    }
  }

  async function send(): Promise<void> {
    const { reports, isAll } = batches.next(options.outbox())
    if (reports.length === 0 || !client) return
    try {
      const answer = await client.call('reportTasks', { params: { hostname }, body: { instanceId, reports }, signal: closing, timeoutMs: CALL_TIMEOUT_MS })
      const acknowledged = new Set(answer.acknowledged.map(executionKey))
      options.acknowledge(reports.filter((report) => acknowledged.has(executionKey(report))))
      for (const execution of answer.unknown) options.disown(execution)
      batches.taken()
    } catch (error) {
      if (!isHakuError(error, 'request.invalid', 'request.body_too_large')) throw error
      batches.refused(reports, error)
      return bell.ring(true)
    }
    reportProblems.over('the Host takes reports again')
    if (!isAll) bell.ring(true)
  }

  /** One call at a time: what comes up during one goes with the next. */
  async function reportOn(): Promise<void> {
    const backoff = createBackoff(BACKOFF)
    for (;;) {
      await bell.wait(closing)
      try {
        await send()
        backoff.reset()
      } catch (error) {
        closing.throwIfAborted()
        // The link tells itself that the Host is away or has forgotten us.
        if (!isHakuError(error, 'host.unreachable', 'node.not_found')) reportProblems.tell(error)
        bell.ring(true)
        // The return of the Host ends the pause.
        pause = new AbortController()
        await backoff.wait(AbortSignal.any([closing, pause.signal])).catch(() => closing.throwIfAborted())
      }
    }
  }

  return {
    news: (urgent) => bell.ring(urgent),
    client: () => client,
    trouble: () => problems.current() ?? reportProblems.current(),
    async run() {
      try {
        await Promise.all([stayRegistered(), reportOn()])
      } catch (error) {
        if (!closing.aborted) throw error
      } finally {
        client?.close()
      }
    },
  }
}

// --- internal ---

/** @returns a function that tells the milliseconds since then. The one clock stands still while the machine sleeps, and people set the other. */
function startWatch(): () => number {
  const [monotonic, wall] = [performance.now(), Date.now()]
  return () => Math.max(performance.now() - monotonic, Date.now() - wall)
}

async function readToken(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new HakuError('auth.required', `The token file ${file} can not be read: ${errorMessage(error)}. Copy runner.token from the state directory of the Host, and set auth.token_file.`, { cause: error })
  })
  return text.trim()
}
