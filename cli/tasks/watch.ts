import { setTimeout as delay } from 'node:timers/promises'
import type { Task } from '#core/api/schemas.ts'
import { errorMessage } from '#core/errors.ts'
import { printable } from '#core/names.ts'
import { connect, type HostClient } from '../framework/connection.ts'
import { onInterrupt } from '../framework/interrupts.ts'
import { formatTable, printLine, tell, terminalSize } from '../framework/output.ts'
import { isLinkError } from '../framework/rejoin.ts'
import { assertBatch, tellUnknown } from './filters.ts'
import type { ListOptions } from './list.ts'
import { TASK_HEADER, taskRow } from './task-rows.ts'

const PERIOD_MS = 1000

/**
 * Shows tasks as they change, until Ctrl-C: at a terminal the list is drawn again in its place, elsewhere a line is printed for each change.
 * A Host that goes away is waited for.
 */
export async function watchTasks({ filter, limit, json, ...args }: ListOptions): Promise<void> {
  const { client } = connect(args)
  const stop = new AbortController()
  const release = onInterrupt(() => stop.abort())
  const show = process.stdout.isTTY && !json ? createScreen() : createChanges(json)
  try {
    await assertBatch(client, filter)
    for (let reached = false; !stop.signal.aborted; ) {
      const tasks = await list(client, { ...filter, limit }, stop.signal).catch((error: unknown) => {
        if (!stop.signal.aborted && (!reached || !isLinkError(error))) throw error
        return errorMessage(error)
      })
      if (stop.signal.aborted) return
      if (!reached && tasks.length === 0) await tellUnknown(client, filter)
      reached = true
      await show(tasks)
      await delay(PERIOD_MS, undefined, { signal: stop.signal }).catch(() => {})
    }
  } finally {
    release()
  }
}

// --- internal ---

/** The tasks, or why there are none to show just now. */
type Show = (tasks: Task[] | string) => Promise<void>

async function list(client: HostClient, query: Record<string, unknown>, signal: AbortSignal): Promise<Task[]> {
  return (await client.call('listTasks', { query, signal })).items
}

function createScreen(): Show {
  let drawn = 0
  return async (tasks) => {
    const { columns, rows } = terminalSize(process.stdout)
    const text = typeof tasks === 'string' ? printable(tasks) : formatTable(TASK_HEADER, tasks.map(taskRow))
    const lines = text.split('\n').slice(0, rows - 2).map((line) => line.slice(0, columns - 1))
    // Up to where the last drawing began, and everything below is cleared.
    await printLine(`${drawn > 0 ? `\u001B[${drawn}A` : ''}\r\u001B[J${lines.join('\n')}`)
    drawn = lines.length
  }
}

function createChanges(json: boolean): Show {
  let known = new Map<string, string>()
  let trouble: string | undefined
  return async (tasks) => {
    if (typeof tasks === 'string') {
      if (tasks !== trouble) tell(tasks)
      trouble = tasks
      return
    }
    trouble = undefined
    const now = new Map(tasks.map((task) => [task.id, taskRow(task).map(String).join('\0')]))
    const changed = tasks.filter(({ id }) => known.get(id) !== now.get(id)).toReversed()
    known = now
    for (const task of changed) await printLine(json ? JSON.stringify(task) : changeLine(task))
  }
}

function changeLine(task: Task): string {
  return taskRow(task).map((cell) => (cell === null || cell === '' ? '-' : printable(String(cell)))).join('  ')
}
