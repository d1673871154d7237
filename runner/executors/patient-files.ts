import type { OutputChunk } from '#core/engine/demultiplex.ts'
import { errorMessage } from '#core/errors.ts'
import { createBackoff } from '../backoff.ts'
import { type Channel, openOutputFiles, type OutputFiles, type Positions } from './output-files.ts'
import type { ExecutorServices } from './services.ts'
import type { TaskRun } from './task-run.ts'

/**
 * Output files that try again until the storage takes what is written. For output that comes only once: whoever prints waits meanwhile.
 *
 * @param interrupted ends the trying: then `write` throws what the storage said
 */
export function createPatientFiles(first: OutputFiles, run: TaskRun, { paths }: Pick<ExecutorServices, 'paths'>, interrupted: AbortSignal): OutputFiles {
  let files = first

  async function write(chunks: OutputChunk[]): Promise<void> {
    const backoff = createBackoff({ firstMs: 200, maxMs: 5000 })
    for (let rest = chunks; ; ) {
      const before = { ...files.positions }
      try {
        await files.write(rest)
        run.tell(null)
        return
      } catch (error) {
        const { stdout, stderr } = files.positions
        rest = skipBytes(rest, { stdout: stdout - before.stdout, stderr: stderr - before.stderr })
        run.tell(`${errorMessage(error)} The task waits with its output.`)
        await backoff.wait(interrupted).catch(() => {
          throw error
        })
      }
      files = await reopen(files)
    }
  }

  /** What was open may be stale. While it can not be opened the old one says why it can not be written. */
  async function reopen(old: OutputFiles): Promise<OutputFiles> {
    const { order } = run.record
    const opened = await openOutputFiles(paths, order, { from: 'end', maxBytes: order.maxOutputBytes }).catch(() => old)
    if (opened !== old) await old.close()
    return opened
  }

  return {
    get positions() {
      return files.positions
    },
    get sizes() {
      return files.sizes
    },
    write,
    finish: () => files.finish(),
    close: () => files.close(),
  }
}

/** Drops so many bytes at the beginning of each channel. Counts `skip` down. */
export function skipBytes(chunks: OutputChunk[], skip: Positions): OutputChunk[] {
  const drop = (channel: Channel, length: number) => {
    const dropped = Math.min(skip[channel], length)
    skip[channel] -= dropped
    return dropped
  }
  return chunks.flatMap(({ channel, bytes }) => {
    const dropped = drop(channel, bytes.length)
    return dropped < bytes.length ? [{ channel, bytes: bytes.subarray(dropped) }] : []
  })
}
