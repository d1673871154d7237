import { errorMessage, isHakuError } from '#core/errors.ts'
import { askKey, type KeyQuestion } from '../framework/ask-key.ts'
import type { HostClient } from '../framework/connection.ts'
import { type Interrupt, leave, onInterrupt } from '../framework/interrupts.ts'
import { tell } from '../framework/output.ts'

/** What Ctrl-C means while tasks are waited for. */
export interface DetachGuard {
  /** Resolves while no question is open: nothing is written over it. */
  quiet(): Promise<void>
  readonly isAsking: boolean
  /** There is nothing more to ask: an open question is closed, and Ctrl-C leaves at once. */
  over(): void
  /** Ctrl-C means again what it did before. */
  release(): void
}

/**
 * Ctrl-C at a terminal asks whether to leave the tasks alone, to kill them, or to go on. A second one, one without a terminal,
 * and SIGTERM leave; the tasks go on, and how to come back is told.
 *
 * @param untilEnd resolves when there is nothing more to ask, where output that is held back meanwhile hides it
 */
export function guardDetach(client: HostClient, ids: readonly string[], untilEnd?: () => Promise<unknown>): DetachGuard {
  let question: KeyQuestion<Answer> | undefined
  let ended: Promise<unknown> | undefined
  let isOver = false

  function detach(signal: Interrupt): void {
    tell(howToComeBack(ids))
    leave(signal)
  }

  function over(): void {
    isOver = true
    question?.close()
  }

  async function ask(): Promise<void> {
    const [them, it] = ids.length === 1 ? ['the task', 'it'] : ['the tasks', 'them']
    question = askKey(`\nLeave ${them} alone (d), kill ${it} (k), or continue to wait (c)? [d/k/C] `, answers)
    // That the Host stays away tells whoever waits for the answer.
    ended ??= untilEnd?.().catch(() => {})
    void ended?.then(over)
    const answer = await question.answer
    question = undefined
    if (answer === 'detach') detach('SIGINT')
    if (answer === 'kill') await kill(client, ids)
  }

  const release = onInterrupt((signal) => {
    const canAsk = signal === 'SIGINT' && process.stdin.isTTY && !process.stdin.readableEnded && process.stderr.isTTY && !question && !isOver
    if (canAsk) void ask()
    else detach(signal)
  })
  return {
    async quiet() {
      await question?.answer
    },
    get isAsking() {
      return question !== undefined
    },
    over,
    release() {
      over()
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

type Answer = 'detach' | 'kill' | 'continue'

/** Ctrl-C again leaves; Enter and Ctrl-D go on. */
const answers: Record<string, Answer> = { d: 'detach', '\u0003': 'detach', k: 'kill', c: 'continue', '\r': 'continue', '\n': 'continue', '\u0004': 'continue' }

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
