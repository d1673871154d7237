import type { TaskQuery, Task } from '#core/api/schemas.ts'
import type { HostClient } from '../framework/connection.ts'

export type TaskFilter = Partial<Omit<TaskQuery, 'limit' | 'cursor'>>

const PAGE_SIZE = 1000

/** Tasks, newest first, page by page: `limit` of them at most. `more` tells whether there would be others. */
export async function* listPages(client: HostClient, filter: TaskFilter, limit = Infinity): AsyncGenerator<{ items: Task[]; more: boolean }> {
  let cursor: string | undefined
  for (let left = limit; left > 0; ) {
    const { items, nextCursor } = await client.call('listTasks', { query: { ...filter, limit: Math.min(left, PAGE_SIZE), cursor } })
    yield { items, more: nextCursor !== null }
    left -= items.length
    if (nextCursor === null) return
    cursor = nextCursor
  }
}
