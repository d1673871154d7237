import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { hostApi } from '#core/api/host.ts'
import type { RegisterBody } from '#core/api/schemas.ts'
import { createClient } from '#core/client/client.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import type { Random } from '../random.ts'
import type { FakeTasks } from './fake-tasks.ts'
import type { Dice } from './faults.ts'
import type { Gate } from './gate.ts'
import type { Ledger } from './ledger.ts'

/** A node's way to its Host: it registers, beats and reports as a real Runner does, and goes on for as long as it is not closed. */
export interface FakeLink {
  /** Resolves after the first registration. */
  readonly registered: Promise<void>
  news(urgent: boolean): void
  close(): Promise<void>
}

export interface FakeLinkOptions {
  hostUrl: string
  runnerToken(): string
  self(): Omit<RegisterBody, 'holdings'>
  tasks: FakeTasks
  dice: Dice
  gate: Gate
  ledger: Ledger
  random: Random
  retryMs: number
}

/** As a Runner does: what is not urgent waits so long for company. */
const GATHER_MS = 50
const MAX_REPORTS = 1000
const CALL_TIMEOUT_MS = 10_000

export function createFakeLink({ hostUrl, runnerToken, self, tasks, dice, gate, ledger: { counters }, random, retryMs }: FakeLinkOptions): FakeLink {
  const closing = new AbortController()
  const { signal } = closing
  const { hostname, instanceId } = self()
  const params = { hostname }
  const call = { signal, timeoutMs: CALL_TIMEOUT_MS }
  let client = connect()
  let isRegistered = false
  let toldImages = 0
  let gathering: NodeJS.Timeout | undefined
  /** The reports that are on their way; what comes up meanwhile goes with the next. */
  let sending: Promise<void> | undefined
  let hasMore = false

  function connect() {
    return createClient({ api: hostApi, url: hostUrl, token: runnerToken(), unreachable: 'host.unreachable' })
  }

  /** A call whose answer may get lost, or come when the Runner is frozen. */
  async function ask<T>(work: () => Promise<T>): Promise<T> {
    await thawed()
    const answer = await work()
    await thawed()
    if (!dice.happens('dropReplies')) return answer
    counters.droppedReplies += 1
    throw new HakuError('host.unreachable', 'The answer was lost.')
  }

  async function thawed(): Promise<void> {
    if (!gate.isOpen) await Promise.race([gate.passed(), once(signal, 'abort')])
    signal.throwIfAborted()
  }

  async function pause(ms: number): Promise<void> {
    await setTimeout(ms * (0.5 + random.next() / 2), undefined, { signal })
  }

  async function register(): Promise<number> {
    for (;;) {
      try {
        const { images } = tasks
        const { heartbeatSeconds } = await ask(() => client.call('registerRunner', { ...call, body: { ...self(), holdings: { images: [...images], layers: [] } } }))
        counters.registrations += 1
        toldImages = images.length
        isRegistered = true
        return heartbeatSeconds
      } catch (error) {
        signal.throwIfAborted()
        // What a Host of this contract never says of a node that is right.
        if (isHakuError(error) && error.kind === 'invalid') throw error
        await pause(retryMs)
        client.close()
        client = connect()
      }
    }
  }

  async function beat(): Promise<void> {
    const { images } = tasks
    const holdings = images.length === toldImages ? undefined : { images: [...images], layers: [] }
    const { engine } = self()
    const answer = await ask(() => client.call('heartbeat', { ...call, params, body: { instanceId, usage: { cpuPercent: 1, memoryUsedBytes: 1_000_000_000 }, engine, tasks: tasks.active(), ...(holdings && { holdings }) } }))
    counters.beats += 1
    toldImages = answer.wantsHoldings ? -1 : images.length
  }

  async function beatOn(heartbeatSeconds: number): Promise<void> {
    // Nodes are not started at the same instant.
    await setTimeout(random.next() * heartbeatSeconds * 1000, undefined, { signal })
    for (;;) {
      try {
        await beat()
      } catch (error) {
        signal.throwIfAborted()
        if (isHakuError(error) && (error.kind === 'unauthenticated' || error.code === 'node.not_found')) return
      }
      await setTimeout(heartbeatSeconds * 1000, undefined, { signal })
    }
  }

  async function send(): Promise<void> {
    const reports = tasks.outbox().slice(0, MAX_REPORTS)
    if (reports.length === 0) return
    hasMore = reports.length === MAX_REPORTS
    const answer = await ask(() => client.call('reportTasks', { ...call, params, body: { instanceId, reports } }))
    counters.reportCalls += 1
    counters.reports += reports.length
    const acknowledged = new Set(answer.acknowledged.map(executionKey))
    tasks.acknowledge(reports.filter((report) => acknowledged.has(executionKey(report))))
    for (const execution of answer.unknown) tasks.disown(execution)
  }

  function flush(): void {
    clearTimeout(gathering)
    gathering = undefined
    hasMore = true
    if (!isRegistered || signal.aborted) return
    sending ??= sendOn().finally(() => (sending = undefined))
  }

  async function sendOn(): Promise<void> {
    while (hasMore && !signal.aborted) {
      hasMore = false
      try {
        await send()
      } catch {
        // They stay in the outbox.
        hasMore = true
        await pause(retryMs).catch(() => undefined)
      }
    }
  }

  async function stayRegistered(tellRegistered: () => void): Promise<void> {
    for (;;) {
      const heartbeatSeconds = await register()
      tellRegistered()
      flush()
      await beatOn(heartbeatSeconds)
    }
  }

  let living: Promise<void> = Promise.resolve()
  const registered = new Promise<void>((resolve, reject) => {
    living = stayRegistered(resolve).catch(reject)
  })
  // Whoever starts a node waits for it; whoever stops it does not ask.
  registered.catch(() => undefined)

  return {
    registered,
    news(urgent) {
      if (urgent) flush()
      else gathering ??= globalThis.setTimeout(flush, GATHER_MS)
    },
    async close() {
      closing.abort()
      clearTimeout(gathering)
      client.close()
      await living
    },
  }
}
