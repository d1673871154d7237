import { connect, type ConnectionArgs, type HostClient } from '../framework/connection.ts'
import { createTable, print, printJson, printLine, tell } from '../framework/output.ts'
import { assertBatch, tellUnknown } from './filters.ts'
import { listPages, type TaskFilter } from './pages.ts'
import { TASK_HEADER, taskRow } from './task-rows.ts'

export interface ListOptions extends ConnectionArgs {
  filter: TaskFilter
  /** At most so many. */
  limit: number
  json: boolean
}

/** Prints tasks, newest first, page by page: of very many only a page is in memory. */
export async function printTasks({ filter, limit, json, ...args }: ListOptions): Promise<void> {
  const { client } = connect(args)
  await assertBatch(client, filter)
  const hasAny = await (json ? printArray(client, filter, limit) : printTable(client, filter, limit))
  if (!hasAny) await tellUnknown(client, filter)
}

// --- internal ---

/** Whether there was any. */
async function printTable(client: HostClient, filter: TaskFilter, limit: number): Promise<boolean> {
  const table = createTable(TASK_HEADER)
  let isFirst = true
  let hasAny = false
  let hasMore = false
  for await (const { items, more } of listPages(client, filter, limit)) {
    const rows = items.map(taskRow)
    const lines = isFirst ? [table.header(rows), ...table.lines(rows)] : table.lines(rows)
    if (lines.length > 0) await printLine(lines.join('\n'))
    isFirst = false
    hasAny ||= rows.length > 0
    hasMore = more
  }
  if (hasMore) tell('There are more: --limit N or --all shows them.')
  return hasAny
}

async function printArray(client: HostClient, filter: TaskFilter, limit: number): Promise<boolean> {
  if (limit <= 1000) {
    const { items } = await client.call('listTasks', { query: { ...filter, limit } })
    await printJson(items)
    return items.length > 0
  }
  let isFirst = true
  await print('[')
  for await (const { items } of listPages(client, filter, limit)) {
    for (const item of items) {
      await print(`${isFirst ? '' : ','}\n${indent(JSON.stringify(item, null, 2))}`)
      isFirst = false
    }
  }
  await print(isFirst ? ']\n' : '\n]\n')
  return !isFirst
}

/** As `JSON.stringify` of the whole array would have it. */
function indent(text: string): string {
  return text.replaceAll(/^/gm, '  ')
}
