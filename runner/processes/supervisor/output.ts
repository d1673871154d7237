import { closeSync, constants, fstatSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { ProcessPaths } from '#core/paths.ts'
import { type OutputChannel, outputChannels } from '#core/tasks/channels.ts'
import { createOutputWriter } from '../../keeping/write.ts'

/**
 * Keeps what the process prints in files of the node's disk.
 *
 * Its ends of the pipes are open for reading too: so it does not die of a broken pipe if its supervisor does, and the next
 * supervisor finds what it has printed meanwhile.
 */
export interface OutputKeeper {
  /** What the process writes into. */
  writers: Record<OutputChannel, number>
  /** The process has them. */
  closeWriters(): void
  /** Resolves once nobody can write any more, and everything is on the disk. */
  ended: Promise<void>
  /** Gives up on whoever still could write, and resolves once everything so far is on the disk. */
  close(): Promise<void>
}

/** @param maxBytes of each channel; one more is kept, which tells that there was more */
export function keepOutput(paths: ProcessPaths, maxBytes: number | null): OutputKeeper {
  const keep = (channel: OutputChannel) => keepChannel(paths.pipe(channel), paths.output(channel), maxBytes)
  const kept = { stdout: keep('stdout'), stderr: keep('stderr') }
  const ended = Promise.all(outputChannels.map((channel) => kept[channel].ended)).then(() => undefined)
  return {
    writers: { stdout: kept.stdout.writer, stderr: kept.stderr.writer },
    closeWriters: () => outputChannels.forEach((channel) => closeSync(kept[channel].writer)),
    ended,
    close() {
      for (const channel of outputChannels) kept[channel].abandon()
      return ended
    },
  }
}

// --- internal ---

interface KeptChannel {
  writer: number
  ended: Promise<void>
  abandon(): void
}

function keepChannel(pipe: string, file: string, maxBytes: number | null): KeptChannel {
  // Opened before the writer, which would wait for it; read only once there is a writer, because a pipe without one is at its end.
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(pipe, constants.O_RDWR)
  const output = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600)
  const socket = new Socket({ fd: reader, readable: true, writable: false })
  const write = createOutputWriter({ file, size: fstatSync(output).size, maxBytes, write: (bytes) => writeSync(output, bytes) })

  async function keep(): Promise<void> {
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) await write(chunk)
    } catch (error) {
      if (!socket.destroyed) throw error
    }
    fsyncSync(output)
    closeSync(output)
  }

  return { writer, ended: keep(), abandon: () => void socket.destroy() }
}
