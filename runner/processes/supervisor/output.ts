import { closeSync, constants, fstatSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { errorMessage } from '#core/errors.ts'
import type { ProcessPaths } from '#core/paths.ts'
import { type Channel, CHANNELS } from '../files.ts'

/**
 * Keeps what the process prints in files of the node's disk.
 *
 * Its ends of the pipes are open for reading too: so it does not die of a broken pipe if its supervisor does, and the next
 * supervisor finds what it has printed meanwhile.
 */
export interface OutputKeeper {
  /** What the process writes into. */
  writers: Record<Channel, number>
  /** The process has them. */
  closeWriters(): void
  /** Resolves once nobody can write any more, and everything is on the disk. */
  ended: Promise<void>
  /** Gives up on whoever still could write, and resolves once everything so far is on the disk. */
  close(): Promise<void>
}

/** @param maxBytes of each channel; one more is kept, which tells that there was more */
export function keepOutput(paths: ProcessPaths, maxBytes: number | null): OutputKeeper {
  const keep = (channel: Channel) => keepChannel(paths.pipe(channel), paths.output(channel), maxBytes)
  const kept = { stdout: keep('stdout'), stderr: keep('stderr') }
  const ended = Promise.all(CHANNELS.map((channel) => kept[channel].ended)).then(() => undefined)
  return {
    writers: { stdout: kept.stdout.writer, stderr: kept.stderr.writer },
    closeWriters: () => CHANNELS.forEach((channel) => closeSync(kept[channel].writer)),
    ended,
    close() {
      for (const channel of CHANNELS) kept[channel].abandon()
      return ended
    },
  }
}

// --- internal ---

/** A full disk is looked at again after this time; the process waits meanwhile. */
const RETRY_MS = 1000

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
  let room = maxBytes === null ? Infinity : maxBytes + 1 - fstatSync(output).size
  let problem: string | undefined

  async function write(chunk: Buffer): Promise<void> {
    let rest = chunk.subarray(0, Math.max(0, Math.min(room, chunk.length)))
    while (rest.length > 0) {
      try {
        const written = writeSync(output, rest)
        room -= written
        rest = rest.subarray(written)
      } catch (error) {
        complain(errorMessage(error))
        await setTimeout(RETRY_MS)
      }
    }
  }

  /** Once: the disk that the log is on is full. */
  function complain(message: string): void {
    if (message !== problem) console.error(`${file}: ${message}`)
    problem = message
  }

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
