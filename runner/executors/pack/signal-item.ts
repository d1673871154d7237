import { setTimeout } from 'node:timers/promises'
import type { SignalName } from '#core/api/schemas.ts'
import { demultiplex } from '#core/engine/demultiplex.ts'
import type { Engine } from '#core/engine/engine.ts'
import { systemErrorCode } from '#core/errors.ts'
import { innerPid, type ProcessStatus } from '../../linux/proc.ts'
import { itemProcesses } from './item-processes.ts'

/** One of those that share a container. */
export interface Item {
  containerId: string
  /** Of its main process. */
  pid: number
  /** Of its task. */
  id: string
}

/** Its main process gets the signal; all that is paused goes on, so that it can obey. */
export async function signalItem(engine: Engine, item: Item, signal: Exclude<SignalName, 'SIGKILL'>): Promise<void> {
  const processes = itemProcesses(item.containerId, item)
  await send(engine, item, processes.filter(({ pid }) => pid === item.pid), signal)
  await send(engine, item, processes.filter(({ isStopped }) => isStopped), 'SIGCONT')
}

/** Ends all of it. What it starts meanwhile is found by the next look. */
export async function killItem(engine: Engine, item: Item): Promise<void> {
  for (let look = 0; look < LOOKS; look++) {
    const processes = itemProcesses(item.containerId, item)
    if (processes.length === 0) return
    await send(engine, item, processes, 'SIGKILL')
    await setTimeout(PAUSE_MS)
  }
}

/** Stops all of it, or lets all of it go on. Resolves to whether there was anything. */
export async function freezeItem(engine: Engine, item: Item, action: 'pause' | 'resume'): Promise<boolean> {
  for (let look = 0; look < LOOKS; look++) {
    const processes = itemProcesses(item.containerId, item)
    const left = processes.filter(({ isStopped }) => isStopped === (action === 'resume'))
    if (left.length === 0) return look > 0 || processes.some(({ pid }) => pid === item.pid)
    await send(engine, item, left, action === 'pause' ? 'SIGSTOP' : 'SIGCONT')
    await setTimeout(PAUSE_MS)
  }
  return true
}

// --- internal ---

const LOOKS = 50
const PAUSE_MS = 5

/**
 * A Runner that is not root may not signal the processes of a container, and the Engine has no call for it: then a shell in the container
 * does it, whose `kill` is built in. It is given numbers only.
 */
const KILL_SCRIPT = 'signal=$1; shift; kill -s "$signal" "$@" 2>/dev/null; :'

async function send(engine: Engine, item: Item, processes: readonly ProcessStatus[], signal: NodeJS.Signals): Promise<void> {
  const refused = processes.filter(({ pid }) => !sendDirectly(pid, signal))
  const inner = refused.flatMap(({ pid }) => innerPid(pid) ?? [])
  if (inner.length === 0) return
  const { stream } = await engine.exec(item.containerId, { command: ['/bin/sh', '-c', KILL_SCRIPT, 'sh', signal.slice('SIG'.length), ...inner.map(String)], user: '0', tty: false })
  // It is over when its output is.
  for await (const _ of demultiplex(stream));
  stream.destroy()
}

/** @returns whether it was sent, or there is nobody to get it */
function sendDirectly(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    if (systemErrorCode(error) === 'EPERM') return false
    if (systemErrorCode(error) !== 'ESRCH') throw error
    return true
  }
}
