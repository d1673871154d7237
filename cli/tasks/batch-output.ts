import { setTimeout as delay } from 'node:timers/promises'
import type { Task } from '#core/api/schemas.ts'
import { type HakuError, isHakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { HostClient } from '../framework/connection.ts'
import { createLineBuffer } from '../framework/line-buffer.ts'
import { createLimit } from '../framework/limit.ts'
import { tell } from '../framework/output.ts'
import { rejoin } from '../framework/rejoin.ts'
import { followTask, type OutputWriters, waitForEnd, writersOf } from './follow.ts'
import { copyOutput, type OutputRange } from './output.ts'
import { listPages } from './pages.ts'

/** Each item holds two connections. */
const ITEMS_AT_ONCE = 16
/** Looking for new items takes this part of the time at most. */
const LOOKING_SHARE = 0.05

/**
 * What the items of a batch print, by whole lines that begin with the item's index, as `srun --label` does: in the order of their
 * indexes, or with `follow` as it comes until the batch has ended.
 *
 * @returns the batch
 * @throws `output.not_found`, after all others, of an item whose output is gone
 */
export async function copyBatchOutput(client: HostClient, id: string, { writers, follow, range, onTask }: { writers: OutputWriters; follow: boolean; range: OutputRange; onTask?: ((task: Task) => void) | undefined }): Promise<Task> {
  if (follow) return followItems(client, id, writers, range, onTask)
  const missing: HakuError[] = []
  for (const item of (await begunItems(client, id)).sort((left, right) => (left.index ?? 0) - (right.index ?? 0))) {
    await withLabel(labelOf(item), writers, (labelled) => Promise.all(writersOf(labelled).map(([name, write]) => copyOutput(client, item.id, name, { ...range, follow: false, reached: true, write })))).catch((error: unknown) => {
      // The others are shown all the same.
      if (!isHakuError(error, 'output.not_found')) throw error
      missing.push(error)
    })
  }
  const [first, ...others] = missing
  for (const { message } of others) tell(message)
  if (first) throw first
  return client.call('getTask', { params: { id } })
}

/** What stands before the lines of a task among others. */
export function labelOf({ id, index }: Pick<Task, 'id' | 'index'>): string {
  return `${index ?? id}: `
}

/** Has `copy` write by whole lines, each with `label` before it. */
export async function withLabel<T>(label: string, writers: OutputWriters, copy: (labelled: OutputWriters) => Promise<T>): Promise<T> {
  const buffers = writersOf(writers).map(([name, write]) => [name, createLineBuffer((lines) => write(addLabel(label, lines)))] as const)
  const result = await copy(Object.fromEntries(buffers.map(([name, buffer]) => [name, (chunk: Buffer) => buffer.push(chunk)])))
  await Promise.all(buffers.map(([, buffer]) => buffer.end()))
  return result
}

// --- internal ---

function addLabel(label: string, lines: Buffer): Buffer {
  // latin1 keeps every byte as it is.
  return Buffer.from(lines.toString('latin1').replace(/[^\r\n]*(?:\r\n|\n|\r)/g, `${label}$&`), 'latin1')
}

async function begunItems(client: HostClient, id: string): Promise<Task[]> {
  const begun: Task[] = []
  for await (const { items } of listPages(client, { batch: id })) begun.push(...items.filter(({ instance }) => instance > 0))
  return begun
}

async function followItems(client: HostClient, id: string, writers: OutputWriters, range: OutputRange, onTask: ((task: Task) => void) | undefined): Promise<Task> {
  const seen = new Set<string>()
  const following: Promise<unknown>[] = []
  let fail: (error: unknown) => void = () => {}
  const failure = new Promise<never>((_, reject) => {
    fail = reject
  })
  failure.catch(() => {})
  const limit = createLimit(ITEMS_AT_ONCE)
  for (;;) {
    // First the batch, then its items: of an ended one all are seen.
    const batch = await rejoin(() => client.call('getTask', { params: { id } }), { reached: true })
    onTask?.(batch)
    const begun = performance.now()
    for (const item of await rejoin(() => begunItems(client, id), { reached: true })) {
      if (seen.has(item.id)) continue
      seen.add(item.id)
      const copied = limit(() => withLabel(labelOf(item), writers, (labelled) => followTask(client, item.id, { ...range, writers: labelled })))
      copied.catch(fail)
      following.push(copied)
    }
    if (isFinal(batch.state)) break
    const pause = Math.max(1000, (performance.now() - begun) / LOOKING_SHARE)
    await Promise.race([delay(pause), failure])
  }
  await Promise.all(following)
  // An item may have been tried again meanwhile.
  return waitForEnd(client, id, { reached: true })
}
