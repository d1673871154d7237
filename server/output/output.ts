import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { OutputQuery } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import type { StreamAnswer } from '#core/http/endpoint-handler.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { outputHeaders, type OutputPart } from '#core/tasks/output-file.ts'
import { finalSize, isOver, type PrintingTasks } from './executions.ts'
import { type FollowOptions, followOutput } from './follow.ts'
import { parseRange } from './range.ts'
import { isExpired } from './retention.ts'
import { createOutputSources, type OpenPart, type OutputSourcesOptions, type Printed } from './sources.ts'

export interface Output {
  /** What an execution of a task has printed, or prints. @throws see `hostApi.getTaskStdout` */
  read(id: string, stream: OutputChannel, query: OutputQuery, options: { range?: string | undefined; signal: AbortSignal }): Promise<StreamAnswer>
  /** The end of what a task printed, so many bytes of it at most. Without an output it is empty. @throws `storage.unavailable`, `node.unreachable` */
  tail(id: string, stream: OutputChannel, bytes: number): Promise<string>
}

export interface OutputOptions extends OutputSourcesOptions, Pick<FollowOptions, 'maxPollMs' | 'lateMs'> {
  tasks: PrintingTasks
  /** Days for which outputs are kept; 0: for ever. */
  keepDays: number
}

const CHUNK_BYTES = 64 * 1024
/** An NFS client may remember for so long that a file was not there. */
const UNSEEN_MS = 60_000

export function createOutput({ tasks, keepDays, maxPollMs, lateMs, ...rest }: OutputOptions): Output {
  const sources = createOutputSources(rest)
  const timing = { ...(maxPollMs !== undefined && { maxPollMs }), ...(lateMs !== undefined && { lateMs }) }

  async function find(id: string, stream: OutputChannel, query: Pick<OutputQuery, 'instance' | 'follow'>): Promise<Printed> {
    const task = await tasks.get(id)
    if (task.items !== null) throw new HakuError('task.is_batch', `The task ${id} is a batch, and its items print each for itself. Name one of them, such as ${id}.1.`)
    const { instance = Math.max(1, task.instance) } = query
    const mayCome = query.follow && !isOver(task, instance)
    if (instance > Math.max(1, task.instance) && !mayCome) throw new HakuError('output.not_found', `The task ${id} has no execution ${instance}: its last one is ${task.instance}.`)
    return { task, stream, instance }
  }

  /** Opens what is there, and tells apart what was never printed from what is gone. */
  async function open(printed: Printed, part: OutputPart, signal: AbortSignal): Promise<OpenPart | undefined> {
    const { task, instance, stream } = printed
    const found = await sources.open(printed, part, signal)
    const size = finalSize(task, instance, stream)
    const isWhole = found ? found.size === undefined || size === null || found.size >= size : size === 0 || !isOver(task, instance)
    if (isWhole) return found
    if (found || isRecent(task.finished)) {
      const onNode = await sources.openOnNode(printed, part, signal)
      if (onNode) found?.bytes.destroy()
      if (onNode ?? found) return onNode ?? found
    }
    const name = `The output (${stream}) of task ${task.id}`
    if (isExpired(task.finished, keepDays) && (size !== null || task.started !== null)) throw new HakuError('output.not_found', `${name} was cleaned up: outputs are kept for ${keepDays} days (logs.keep_days).`)
    if (size !== null) throw new HakuError('output.not_found', `${name} had ${size} bytes, and is not in the shared directory any more.`)
    return undefined
  }

  function follow({ task: { id }, instance, stream }: Printed, offset: number, signal: AbortSignal): Readable {
    return Readable.from(followOutput({ tasks, sources, ...timing }, { id, instance, stream, offset }, signal), { objectMode: false, highWaterMark: CHUNK_BYTES })
  }

  return {
    async read(id, stream, query, { range, signal }) {
      const printed = await find(id, stream, query)
      const { task, instance } = printed
      const { offset, tail } = query
      const headers = (start: number) => ({ [outputHeaders.instance]: String(instance), [outputHeaders.offset]: String(start), 'accept-ranges': 'bytes' })
      if (query.follow) {
        const part = task.instance < instance ? undefined : await open(printed, { offset, tail }, signal)
        part?.bytes.destroy()
        const start = tail === undefined ? offset : (part?.offset ?? 0)
        return { stream: follow(printed, start, signal), headers: headers(start) }
      }
      const wanted = tail === undefined && offset === 0 ? parseRange(range) : undefined
      const part = await open(printed, wanted ?? { offset, tail }, signal)
      const start = part?.offset ?? offset
      if (wanted && part && part.size === undefined) {
        // A node tells no size, and all is an answer to a range too.
        part.bytes.destroy()
        return { stream: (await open(printed, {}, signal))?.bytes ?? Readable.from([]), headers: headers(0) }
      }
      if (!wanted || part?.size === undefined) return { stream: part?.bytes ?? Readable.from([]), headers: headers(start) }
      const end = Math.min(wanted.end ?? part.size, part.size)
      if (start >= end) {
        part.bytes.destroy()
        throw new HakuError('output.range_invalid', `The output of task ${id} has ${part.size} bytes${isOver(task, instance) ? '' : ' so far'}, and ${range} is not among them.`)
      }
      return { stream: part.bytes, status: 206, headers: { ...headers(start), 'content-range': `bytes ${start}-${end - 1}/${isOver(task, instance) ? part.size : '*'}` } }
    },

    async tail(id, stream, bytes) {
      const part = await open(await find(id, stream, { follow: false }), { last: bytes }, NEVER)
      return part ? (await buffer(part.bytes)).toString('utf8') : ''
    },
  }
}

// --- internal ---

const NEVER = new AbortController().signal

function isRecent(finished: string | null): boolean {
  return finished !== null && Math.abs(Date.now() - Date.parse(finished)) < UNSEEN_MS
}
