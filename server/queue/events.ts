import type { TaskEvent } from '#core/api/schemas.ts'

/** What happened to a task, as it is kept: a few bytes for each event, since every task has some. */

/** Beyond so many the ones in the middle go. */
const MAX_EVENTS = 100
const KEPT_FIRST = 20

/** In the database. Letters are never given away twice. */
const letters: Record<TaskEvent['event'], string> = {
  submitted: 'S', queued: 'q', assigned: 'a', syncing: 'y', starting: 't', running: 'r', paused: 'p', succeeded: 'o', failed: 'f', killed: 'k', out_of_memory: 'm', timed_out: 'd', lost: 'x',
  hold: 'H', release: 'R', pause: 'P', resume: 'U', kill: 'K', move: 'M', retry: 'Y', note: 'N',
}
const names = Object.fromEntries(Object.entries(letters).map(([name, letter]) => [letter, name])) as Record<string, TaskEvent['event']>

/** Milliseconds since the event before (or the submission), what, by whom, instance, node, message. */
type Kept = [number, string, (string | number)?, number?, (string | number | null)?, string?]
const BY_HOST = 0
const BY_ITS_NODE = 1
const SAME_NODE = 1

export function encodeEvents(events: readonly TaskEvent[], submitted: string): string {
  let time = Date.parse(submitted)
  let node: string | null = null
  return JSON.stringify(events.map((event): Kept => {
    const at = Date.parse(event.time)
    const kept: Kept = [at - time, letters[event.event], event.by === 'host' ? BY_HOST : event.node !== null && event.by === `node ${event.node}` ? BY_ITS_NODE : event.by]
    if (event.instance > 0 || event.node !== null || event.message !== null) kept.push(event.instance)
    if (event.node !== null || event.message !== null) kept.push(event.node !== null && event.node === node ? SAME_NODE : event.node)
    if (event.message !== null) kept.push(event.message)
    time = at
    node = event.node ?? node
    return kept
  }))
}

export function decodeEvents(text: string, submitted: string): TaskEvent[] {
  let time = Date.parse(submitted)
  let node: string | null = null
  return (JSON.parse(text) as Kept[]).map(([ms, letter, by = 'user', instance = 0, place = null, message = null]) => {
    time += ms
    const here = place === SAME_NODE ? node : (place as string | null)
    node = here ?? node
    return { time: new Date(time).toISOString(), event: names[letter] ?? 'note', by: by === BY_HOST ? 'host' : by === BY_ITS_NODE ? `node ${here}` : String(by), instance, node: here, message }
  })
}

/** Who did it, for a person; empty if nobody told who. */
export function byUser(user = ''): string {
  return user === '' ? 'user' : `user ${user}`
}

export function addEvent(events: readonly TaskEvent[], event: TaskEvent): TaskEvent[] {
  if (events.length < MAX_EVENTS) return [...events, event]
  return [...events.slice(0, KEPT_FIRST), ...events.slice(KEPT_FIRST + 1 - MAX_EVENTS), event]
}
