import { HakuError } from '#core/errors.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { finalSize, isOver, nextChange, type PrintingTasks } from './executions.ts'
import type { OutputSources } from './sources.ts'

export interface FollowOptions {
  tasks: PrintingTasks
  sources: OutputSources
  /** Between two looks at a file that does not grow, at most. */
  maxPollMs?: number
  /** How long the last bytes may stay out of sight. */
  lateMs?: number
}

export interface Followed {
  id: string
  instance: number
  stream: OutputChannel
  offset: number
}

/** Between two looks at a growing file: NFS tells nobody of changes. */
const POLL_MS = 100
const MAX_POLL_MS = 500
/** An NFS client may see the last bytes of another machine late, for as long as it caches attributes: then they are read where they were written. */
const LATE_MS = 30_000

/**
 * All bytes of one execution from `offset` on, as they come: until it is over and everything was sent. One that has not begun is waited for.
 *
 * A clean end is a whole output: everything else throws.
 */
export async function* followOutput({ tasks, sources, maxPollMs = MAX_POLL_MS, lateMs = LATE_MS }: FollowOptions, { id, instance, stream, offset }: Followed, signal: AbortSignal): AsyncGenerator<Buffer> {
  let position = offset
  let pollMs = POLL_MS
  let overSince: number | undefined
  while (!signal.aborted) {
    // The state is read before the file: all that an ended task printed is then in the file.
    const task = await tasks.get(id)
    const over = isOver(task, instance)
    const before = position
    if (task.instance >= instance) {
      const printed = { task, instance, stream }
      // Where no node tells, the file is looked at instead.
      const onNode = overSince === undefined ? undefined : await sources.openOnNode(printed, { offset: position }, signal)
      const part = onNode ?? (await sources.open(printed, { offset: position }, signal))
      for await (const chunk of (part?.bytes ?? []) as AsyncIterable<Buffer>) {
        position += chunk.length
        yield chunk
      }
    }
    if (over) {
      const size = finalSize(task, instance, stream)
      if (size === null || position >= size) return
      overSince ??= performance.now()
      if (performance.now() - overSince > lateMs) throw new HakuError('storage.unavailable', `Of the ${size} bytes that task ${id} printed (${stream}) only ${position} can be seen in the shared directory.`)
    }
    pollMs = position > before ? POLL_MS : Math.min(pollMs * 1.5, maxPollMs)
    await nextChange(tasks, id, pollMs, signal)
  }
  // A clean end would look like the end of the output.
  throw new HakuError('host.stopping', 'The Host is stopping. Read on from where this ends when it is back.')
}
