import { createInterface } from 'node:readline'
import { errorMessage, isHakuError } from '#core/errors.ts'
import type { HostClient } from '../framework/connection.ts'
import { type Interrupt, leave, onInterrupt } from '../framework/interrupts.ts'
import { tell } from '../framework/output.ts'

/** What Ctrl-C means while tasks are waited for. */
export interface DetachGuard {
  /** Resolves while no question is open: nothing is written over it. */
  quiet(): Promise<void>
  readonly isAsking: boolean
  /** Ctrl-C means again what it did before. */
  release(): void
}

/**
 * Ctrl-C at a terminal asks whether to leave the tasks alone, to kill them, or to go on. A second one, one without a terminal,
 * and SIGTERM leave; the tasks go on, and how to come back is told.
 */
export function guardDetach(client: HostClient, ids: readonly string[]): DetachGuard {
  let question: { closed: Promise<void>; close(): void } | undefined

  function detach(signal: Interrupt): void {
    tell(howToComeBack(ids))
    leave(signal)
  }

  function ask(): void {
    const { stdin, stderr } = process
    const lines = createInterface({ input: stdin, output: stderr })
    lines.once('SIGINT', () => {
      stderr.write('\n')
      detach('SIGINT')
    })
    const closed = new Promise<void>((resolve) => lines.once('close', resolve))
    lines.question(`\nLeave ${ids.length === 1 ? 'the task' : 'the tasks'} alone (d), kill ${ids.length === 1 ? 'it' : 'them'} (k), or continue to wait (c)? [d/k/C] `, (answer) => {
      lines.close()
      const letter = answer.trim().toLowerCase()
      if (['d', 'detach'].includes(letter)) detach('SIGINT')
      if (['k', 'kill'].includes(letter)) void kill(client, ids)
    })
    question = { closed, close: () => lines.close() }
    lines.once('close', () => {
      question = undefined
    })
  }

  const release = onInterrupt((signal) => {
    const canAsk = signal === 'SIGINT' && process.stdin.isTTY && !process.stdin.readableEnded && process.stderr.isTTY && !question
    if (canAsk) ask()
    else detach(signal)
  })
  return {
    quiet: () => question?.closed ?? Promise.resolve(),
    get isAsking() {
      return question !== undefined
    },
    release() {
      if (question) process.stderr.write('\n')
      question?.close()
      release()
    },
  }
}

/** What to do about tasks that are waited for no longer. Says nothing of how they are: they may have ended just now. */
export function howToComeBack(ids: readonly string[]): string {
  const all = ids.length > 5 ? 'ID' : ids.join(' ')
  const [first] = ids
  return ids.length === 1
    ? `Left the task alone. Come back with "hakuriver task wait ${first}" or "hakuriver task logs ${first} --follow"; end it with "hakuriver task kill ${first}".`
    : `Left the tasks alone. Come back with "hakuriver task wait ${all}"; end them with "hakuriver task kill ${all}".`
}

// --- internal ---

async function kill(client: HostClient, ids: readonly string[]): Promise<void> {
  tell(`Asking the Host to kill ${ids.length === 1 ? 'it' : 'them'}; Ctrl-C asks again.`)
  for (const id of ids) {
    try {
      await client.call('killTask', { params: { id } })
    } catch (error) {
      if (!isHakuError(error, 'task.finished')) tell(errorMessage(error))
    }
  }
}
