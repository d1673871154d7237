import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errorMessage } from '#core/errors.ts'
import type { ProcessPaths } from '#core/paths.ts'
import { type OutputChannel, outputChannels } from '#core/tasks/channels.ts'
import { createOutputWriter } from '../../../keeping/write.ts'

/** Keeps what an item prints on the node's disk. */
export interface KeptOutput {
  /** Copies a channel to its end. Never rejects. */
  copy(channel: OutputChannel, source: AsyncIterable<Buffer>): Promise<void>
  close(): Promise<void>
}

/** @param maxBytes of each channel; one more is kept, which tells that there was more */
export async function openOutput(paths: ProcessPaths, maxBytes: number | null): Promise<KeptOutput> {
  const handles: FileHandle[] = []
  for (const channel of outputChannels) handles.push(await open(paths.output(channel), constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600))
  const handleOf = (channel: OutputChannel) => handles[outputChannels.indexOf(channel)] as FileHandle
  return {
    async copy(channel, source) {
      const handle = handleOf(channel)
      const write = createOutputWriter({ file: paths.output(channel), size: 0, maxBytes, write: async (bytes) => (await handle.write(bytes)).bytesWritten })
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
