import type { Readable } from 'node:stream'
import { createDemultiplexer, type DemultiplexOptions, type OutputChunk } from '#core/engine/demultiplex.ts'
import type { OutputStream } from '../executor.ts'

/** The two outputs in an Engine's multiplexed stream. */
export function openOutputStream(stream: Readable, options: DemultiplexOptions = {}): OutputStream {
  return { chunks: takeApart(stream, options), destroy: () => void stream.destroy() }
}

// --- internal ---

/** A piece of the stream is many small frames: they go on together. */
async function* takeApart(stream: Readable, options: DemultiplexOptions): AsyncGenerator<OutputChunk[]> {
  const demultiplexer = createDemultiplexer(options)
  for await (const piece of stream as AsyncIterable<Buffer>) yield demultiplexer.push(piece)
  demultiplexer.end()
}
