import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { errorMessage } from '#core/errors.ts'
import type { ProcessPaths } from '#core/paths.ts'
import { CHANNELS, type Channel } from '../../../processes/files.ts'

/** Keeps what an item prints on the node's disk. */
export interface KeptOutput {
  /** Copies a channel to its end. Never rejects. */
  copy(channel: Channel, source: AsyncIterable<Buffer>): Promise<void>
  close(): Promise<void>
}

/** A full disk is looked at again after this time; the item waits meanwhile. */
const RETRY_MS = 1000

/** @param maxBytes of each channel; one more is kept, which tells that there was more */
export async function openOutput(paths: ProcessPaths, maxBytes: number | null): Promise<KeptOutput> {
  const handles: FileHandle[] = []
  for (const channel of CHANNELS) handles.push(await open(paths.output(channel), constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600))
  const handleOf = (channel: Channel) => handles[CHANNELS.indexOf(channel)] as FileHandle
  return {
    async copy(channel, source) {
      const write = createWriter(handleOf(channel), paths.output(channel), maxBytes === null ? Infinity : maxBytes + 1)
      try {
        for await (const chunk of source) await write(chunk)
      } catch (error) {
        // Whoever gives up on the rest destroys the source.
        if (!(error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE')) console.error(errorMessage(error))
      }
    },
    async close() {
      for (const handle of handles) await handle.close()
    },
  }
}

// --- internal ---

function createWriter(handle: FileHandle, file: string, maxBytes: number): (chunk: Buffer) => Promise<void> {
  let room = maxBytes
  let problem: string | undefined
  return async (chunk) => {
    for (let rest = chunk.subarray(0, Math.min(room, chunk.length)); rest.length > 0; ) {
      try {
        const { bytesWritten } = await handle.write(rest)
        room -= bytesWritten
        rest = rest.subarray(bytesWritten)
      } catch (error) {
        const message = errorMessage(error)
        if (message !== problem) console.error(`${file}: ${message}`)
        problem = message
        await setTimeout(RETRY_MS)
      }
    }
  }
}
