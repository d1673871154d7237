import type { HostApi } from '#core/api/host.ts'
import type { SubmitBody } from '#core/api/schemas.ts'
import type { Client } from '#core/client/client.ts'
import { ENVIRONMENT } from './environment.ts'

/** The smallest task there is. */
const PLAIN_TASK = { command: ['true'], environment: ENVIRONMENT, cores: 1 } satisfies Partial<SubmitBody>

/** Submits one array. Resolves to its id. */
export async function submitArray(client: Client<HostApi>, tasks: number): Promise<string> {
  // A million of items is more than the usual answer time is for.
  const { tasks: [batch] } = await client.call('submitTask', { body: { ...PLAIN_TASK, items: { kind: 'array', indexes: `1-${tasks}` } }, timeoutMs: 120_000 })
  if (!batch) throw new Error('the Host answered a submission without a task')
  return batch.id
}

/** Submits tasks one by one, from so many clients at the same time. */
export async function submitSingles(connect: () => Client<HostApi>, { tasks, clients, signal }: { tasks: number; clients: number; signal?: AbortSignal }): Promise<void> {
  let left = tasks
  await Promise.all(Array.from({ length: clients }, async () => {
    const client = connect()
    try {
      while (left > 0) {
        left -= 1
        await client.call('submitTask', { body: PLAIN_TASK, ...(signal && { signal }) })
      }
    } finally {
      client.close()
    }
  }))
}
