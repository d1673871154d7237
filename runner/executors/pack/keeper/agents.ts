import type { Duplex } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { demultiplex } from '#core/engine/demultiplex.ts'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import type { AgentEvent, AgentOrder } from '../agent/protocol.ts'
import type { AgentLaunch } from './protocol.ts'

type Failure = Extract<AgentEvent, { failure: unknown }>['failure']

/** An item as its agent sees it. */
export interface AgentItem {
  /** Resolves once it was started, or not. `undefined`: the agent is gone. */
  started: Promise<{ pid: number } | { failure: Failure } | undefined>
  /** Resolves to its exit code; `undefined`: the agent is gone. */
  exited: Promise<number | undefined>
}

/** A program of ours in a container. */
export interface Agent {
  start(order: Omit<AgentOrder, 'item'>): AgentItem
}

/** One for each container. */
export interface Agents {
  /** The one that is there, or a new one. @throws `container.not_running`, `container.not_found`, `engine.*` also if it does not come up */
  open(launch: AgentLaunch): Promise<Agent>
  close(): void
}

/** A machine that is very busy takes seconds to start a program. */
const PATIENCE_MS = 30_000

export function createAgents(engine: Pick<Engine, 'exec'>): Agents {
  const agents = new Map<string, Promise<Agent>>()
  const streams = new Set<Duplex>()

  async function launch({ containerId, command, user }: AgentLaunch): Promise<Agent> {
    const { stream } = await engine.exec(containerId, { command, tty: false, ...(user !== null && { user }) })
    streams.add(stream)
    const link = createLink(stream)
    const forget = () => {
      streams.delete(stream)
      agents.delete(containerId)
    }
    link.ended.then(forget, forget)
    const isReady = await Promise.race([link.ready, link.ended.then(() => false), setTimeout(PATIENCE_MS, false, { ref: false })])
    if (isReady) return link.agent
    stream.destroy()
    throw new HakuError('engine.failed', `The agent of items does not come up in its container: ${link.words() || 'it says nothing'}.`)
  }

  return {
    open(order) {
      const known = agents.get(order.containerId)
      if (known) return known
      const opened = launch(order)
      agents.set(order.containerId, opened)
      opened.catch(() => agents.delete(order.containerId))
      return opened
    },
    close() {
      for (const stream of streams) stream.destroy()
    },
  }
}

// --- internal ---

const MAX_WORDS = 1000

interface Pending {
  start(answer: { pid: number } | { failure: Failure } | undefined): void
  exit(exitCode: number | undefined): void
}

function createLink(stream: Duplex): { agent: Agent; ready: Promise<true>; ended: Promise<void>; words(): string } {
  const pending = new Map<number, Pending>()
  let words = ''
  let count = 0
  let isOver = false
  let setReady: (ready: true) => void = () => undefined
  const ready = new Promise<true>((resolve) => (setReady = resolve))

  function take(event: AgentEvent): void {
    if ('ready' in event) return setReady(true)
    const item = pending.get(event.item)
    if ('pid' in event || 'failure' in event) item?.start(event)
    else item?.exit(event.exitCode)
    if (!('pid' in event)) pending.delete(event.item)
  }

  async function read(): Promise<void> {
    let rest = ''
    try {
      for await (const { channel, bytes } of demultiplex(stream)) {
        if (channel === 'stderr') words = (words + bytes.toString()).slice(-MAX_WORDS)
        if (channel === 'stderr') continue
        const lines = (rest + bytes.toString('latin1')).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) take(JSON.parse(Buffer.from(line, 'latin1').toString()) as AgentEvent)
      }
    } catch (error) {
      words ||= String(error)
    }
    isOver = true
    for (const item of pending.values()) {
      item.start(undefined)
      item.exit(undefined)
    }
  }

  const agent: Agent = {
    start(order) {
      const item = count++
      const pair: Partial<Pending> = {}
      const started: AgentItem['started'] = new Promise((resolve) => (pair.start = resolve))
      const exited: AgentItem['exited'] = new Promise((resolve) => (pair.exit = resolve))
      pending.set(item, pair as Pending)
      if (isOver) {
        pair.start?.(undefined)
        pair.exit?.(undefined)
      } else stream.write(`${JSON.stringify({ item, ...order } satisfies AgentOrder)}\n`)
      return { started, exited }
    },
  }
  return { agent, ready, ended: read(), words: () => words.trim() }
}
