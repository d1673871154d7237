import { createWriteStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { HakuError, errorMessage, isHakuError, systemErrorCode } from '#core/errors.ts'
import { printable } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { print } from '../framework/output.ts'
import { createProgressView } from '../operations/progress.ts'

/** Writes an archive to standard output. @throws `tarball.damaged` if it breaks off */
export async function writeOut(archive: IncomingMessage): Promise<void> {
  for await (const chunk of counted(archive)) await print(chunk)
}

/** Writes an archive to a file that gets its name once it is whole. */
export async function saveTo(file: string, archive: IncomingMessage): Promise<void> {
  const temporary = `${file}.part-${process.pid}`
  const view = createProgressView(process.stderr)
  try {
    await pipeline(counted(archive, (bytes) => view.update({ phase: 'export', bytes, totalBytes: null, message: printable(file) })), createWriteStream(temporary, { flags: 'wx', flush: true }))
    await rename(temporary, file)
  } catch (error) {
    archive.destroy()
    await rm(temporary, { force: true })
    throw isHakuError(error) || systemErrorCode(error) === undefined ? error : new HakuError('usage.invalid', `${file} can not be written: ${errorMessage(error)}.`, { cause: error })
  } finally {
    view.end()
  }
}

export interface Upload {
  content: Readable
  /** The progress stays as it is, further output begins on a line of its own. */
  end(): void
}

/** Opens an archive to send it, `-` for standard input, and shows how far it is. @throws `usage.invalid` if it can not be read */
export async function openUpload(file: string): Promise<Upload> {
  const { source, totalBytes } = file === '-' ? { source: process.stdin as Readable, totalBytes: null } : await openFile(file)
  const view = createProgressView(process.stderr)
  async function* shown(): AsyncGenerator<Buffer> {
    let bytes = 0
    for await (const chunk of source as AsyncIterable<Buffer>) {
      bytes += chunk.length
      view.update({ phase: 'upload', bytes, totalBytes, message: file === '-' ? '' : printable(file) })
      yield chunk
    }
    view.update({ phase: 'store', bytes: null, totalBytes: null, message: 'the Host checks and stores it' })
  }
  return { content: Readable.from(shown(), { objectMode: false }), end: () => view.end() }
}

// --- internal ---

async function openFile(file: string): Promise<{ source: Readable; totalBytes: number }> {
  try {
    const handle = await open(file, 'r')
    const stats = await handle.stat()
    if (stats.isDirectory()) {
      await handle.close()
      throw new Error('it is a directory')
    }
    return { source: handle.createReadStream({ highWaterMark: 256 * 1024 }), totalBytes: stats.size }
  } catch (error) {
    throw new HakuError('usage.invalid', `${file} can not be read: ${errorMessage(error)}.`, { cause: error })
  }
}

/** The Host cuts the connection where it finds the tarball damaged: what came before is no archive. */
async function* counted(archive: IncomingMessage, onProgress: (bytes: number) => void = () => {}): AsyncGenerator<Buffer> {
  let bytes = 0
  try {
    for await (const chunk of archive as AsyncIterable<Buffer>) {
      bytes += chunk.length
      onProgress(bytes)
      yield chunk
    }
  } catch (error) {
    throw new HakuError('tarball.damaged', `The archive broke off after ${formatSize(bytes)}: ${errorMessage(error)}. What there is of it can not be loaded. If it breaks off there again, the tarball is damaged: the log of the Host tells.`, { cause: error })
  }
}
