import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import type { OutputChunk } from '#core/engine/demultiplex.ts'
import { systemErrorCode } from '#core/errors.ts'
import type { ProcessPaths } from '#core/paths.ts'
import { type OutputChannel, outputChannels } from '#core/tasks/channels.ts'
import { OutputLost, type OutputStream } from '../executors/executor.ts'
import { watchDirectory } from '../linux/watch.ts'

const BLOCK_BYTES = 256 * 1024

export interface ReadOptions {
  /** Until nobody writes any more. */
  follow: boolean
  closing: AbortSignal
  /** Whether nobody does; asked again and again. */
  isOver(): boolean
}

/** What a process has printed, from its first byte on. Reading throws {@link OutputLost} if it was removed. */
export function readOutput(paths: ProcessPaths, { follow, closing, isOver }: ReadOptions): OutputStream {
  const stopping = new AbortController()
  return { chunks: read(paths, () => !follow || isOver(), AbortSignal.any([closing, stopping.signal])), destroy: () => stopping.abort() }
}

// --- internal ---

type Handles = Record<OutputChannel, FileHandle>

async function openOutputs(paths: ProcessPaths): Promise<Handles> {
  const stdout = await openOutput(paths.output('stdout'))
  try {
    return { stdout, stderr: await openOutput(paths.output('stderr')) }
  } catch (error) {
    await stdout.close()
    throw error
  }
}

async function openOutput(file: string): Promise<FileHandle> {
  try {
    return await open(file)
  } catch (error) {
    throw systemErrorCode(error) === 'ENOENT' ? new OutputLost(`the file ${file} on the node was removed`, { cause: error }) : error
  }
}

async function* read(paths: ProcessPaths, isComplete: () => boolean, signal: AbortSignal): AsyncGenerator<OutputChunk[]> {
  const handles = await openOutputs(paths)
  const watch = watchDirectory(paths.directory, [...outputChannels, basename(paths.ended)])
  const positions = { stdout: 0, stderr: 0 }
  try {
    for (;;) {
      signal.throwIfAborted()
      // Asked before reading: what is there by then is all.
      const isAll = isComplete()
      const chunks: OutputChunk[] = []
      for (const channel of outputChannels) {
        const { buffer, bytesRead } = await handles[channel].read(Buffer.allocUnsafe(BLOCK_BYTES), 0, BLOCK_BYTES, positions[channel])
        positions[channel] += bytesRead
        if (bytesRead > 0) chunks.push({ channel, bytes: buffer.subarray(0, bytesRead) })
      }
      if (chunks.length > 0) yield chunks
      else if (isAll) return
      else await watch.next(signal)
    }
  } finally {
    watch.close()
    await handles.stdout.close()
    await handles.stderr.close()
  }
}
