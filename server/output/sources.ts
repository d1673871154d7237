import type { Readable } from 'node:stream'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import type { SharedPaths } from '#core/paths.ts'
import { assertMark } from '#core/shared-directory.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { openOutput, type OutputPart } from '#core/tasks/output-file.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { Nodes } from '../nodes/nodes.ts'
import { finalSize, type PrintingTask } from './executions.ts'

/** One output of one execution. */
export interface Printed {
  task: PrintingTask
  instance: number
  stream: OutputChannel
}

export interface OpenPart {
  /** Where `bytes` begins. */
  offset: number
  /** Of the whole output, when it was opened; `undefined`: not told. */
  size: number | undefined
  bytes: Readable
}

/** Where outputs are read: in the shared directory, or through a node where the Host does not see that. */
export interface OutputSources {
  /** `undefined`: there is none (yet). @throws `storage.unavailable`, `node.unreachable` */
  open(printed: Printed, part: OutputPart, signal: AbortSignal): Promise<OpenPart | undefined>
  /** As a node sees it: what it wrote is there at once, and for an NFS client elsewhere maybe later. `undefined`: no node tells now. */
  openOnNode(printed: Printed, part: OutputPart, signal: AbortSignal): Promise<OpenPart | undefined>
}

export interface OutputSourcesOptions {
  paths: SharedPaths
  nodes: Pick<Nodes, 'list'>
  dispatcher: Pick<Dispatcher, 'readOutput'>
}

/** All nodes see the same files: so many are asked at most. */
const MAX_NODES = 3

export function createOutputSources({ paths, nodes, dispatcher }: OutputSourcesOptions): OutputSources {
  /** The node of the execution first: it certainly has them. */
  function readersOf({ task, instance }: Printed): string[] {
    const own = task.instance === instance ? task.node : null
    const online = nodes.list().filter((node) => node.online).map(({ hostname }) => hostname)
    return [...online.filter((hostname) => hostname === own), ...online.filter((hostname) => hostname !== own)].slice(0, MAX_NODES)
  }

  async function askNodes(printed: Printed, part: OutputPart, signal: AbortSignal): Promise<OpenPart> {
    const { task, instance, stream } = printed
    const { id } = task
    const { tail, last } = part
    const offset = last === undefined ? (part.offset ?? 0) : Math.max(0, (finalSize(task, instance, stream) ?? 0) - last)
    const failures: string[] = []
    for (const node of readersOf(printed)) {
      try {
        const { offset: start, bytes } = await dispatcher.readOutput(node, { id, instance, stream, offset, tail }, signal)
        return { offset: start, size: undefined, bytes }
      } catch (error) {
        if (signal.aborted || !isHakuError(error)) throw error
        failures.push(`${node}: ${error.message}`)
      }
    }
    throw new HakuError('node.unreachable', `No node could be asked for the output of task ${id}${failures.length > 0 ? ` (${failures.join('; ')})` : ': none is online'}. Try again when ${printed.task.node ?? 'a node'} is back.`)
  }

  return {
    openOnNode: (printed, part, signal) => askNodes(printed, part, signal).catch(ignoreHakuError),
    async open(printed, part, signal) {
      try {
        await assertMark(paths.mark)
      } catch (unseen) {
        return askNodes(printed, part, signal).catch((error: unknown) => {
          if (!isHakuError(error, 'node.unreachable')) throw error
          throw new HakuError('node.unreachable', `The Host does not see its shared directory, and no node answers for it. ${errorMessage(unseen)} ${error.message}`, { cause: error })
        })
      }
      return openOutput(paths[printed.stream](printed.task.id, printed.instance), part)
    },
  }
}

// --- internal ---

function ignoreHakuError(error: unknown): undefined {
  if (!isHakuError(error)) throw error
}
