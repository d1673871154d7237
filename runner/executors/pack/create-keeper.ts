import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { HakuError } from '#core/errors.ts'
import { keeperLog } from '#core/paths.ts'
import { TaskFailure } from '../task-failure.ts'
import type { AgentLaunch, ItemOrder, KeepAnswer, KeepRequest } from './keeper/protocol.ts'

/** The keeper of the items that this Runner starts. Those of an earlier Runner have its keeper. */
export interface Keeper {
  /** Resolves once an agent runs in the container. @throws `container.not_running`, `container.not_found`, `engine.*` */
  open(agent: AgentLaunch): Promise<void>
  /** Resolves once the item was started. @throws `TaskFailure`: its command can not be; else as {@link open}; `engine.unavailable` also if the keeper is gone */
  start(agent: AgentLaunch, item: ItemOrder): Promise<void>
}

export interface KeeperOptions {
  /** File of the program: see `build/helpers.mjs`. */
  program: string
  /** Of the Engine. */
  socketPath: string
  /** Where the items have their directories, and the keeper its log. */
  directory: string
}

type Child = ChildProcessByStdio<Writable, Readable, null>

export function createKeeper(options: KeeperOptions): Keeper {
  const waiting = new Map<number, (answer: KeepAnswer) => void>()
  let child: Child | undefined
  let count = 0

  function lose(lost: Child): void {
    if (child !== lost) return
    child = undefined
    for (const [request, answer] of waiting) answer({ request, error: { code: 'engine.unavailable', message: 'The keeper of items has ended. Is there memory left on this node, and is HakuRiver installed completely?' } })
  }

  function launchOnce(): Child {
    if (child) return child
    const launched = launch(options)
    child = launched
    launched.once('error', () => lose(launched)).once('exit', () => lose(launched))
    launched.stdin.on('error', () => lose(launched))
    createInterface({ input: launched.stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as KeepAnswer
      waiting.get(answer.request)?.(answer)
    })
    return launched
  }

  function ask(rest: Omit<KeepRequest, 'request'>): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = count++
      waiting.set(request, ({ error, failure }) => {
        waiting.delete(request)
        if (error) reject(new HakuError(error.code, error.message))
        else if (failure) reject(new TaskFailure(failure.reason, new Error(failure.message), failure.exitCode))
        else resolve()
      })
      launchOnce().stdin.write(`${JSON.stringify({ request, ...rest } satisfies KeepRequest)}\n`)
    })
  }

  return {
    open: (agent) => ask({ agent }),
    start: (agent, item) => ask({ agent, item }),
  }
}

// --- internal ---

/** In a session of its own, so that it outlives the Runner. */
function launch({ program, socketPath, directory }: KeeperOptions): Child {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const log = openSync(keeperLog(directory), 'a', 0o600)
  try {
    // What its types do not know: two pipes make two streams.
    const child = spawn(process.execPath, [program, socketPath], { cwd: '/', env: {}, detached: true, stdio: ['pipe', 'pipe', log] }) as Child
    child.unref()
    return child
  } finally {
    closeSync(log)
  }
}
