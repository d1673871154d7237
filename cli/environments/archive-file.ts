import { constants, createWriteStream } from 'node:fs'
import { lstat, open, readlink, rename, rm, stat } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { dirname, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { HakuError, errorMessage, isHakuError, systemErrorCode } from '#core/errors.ts'
import { printable } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { print } from '../framework/output.ts'
import { createProgressView } from '../operations/progress.ts'

/** Where an archive goes. */
export interface Destination {
  isTerminal: boolean
  /** @throws `tarball.damaged` if it breaks off */
  write(archive: IncomingMessage): Promise<void>
}

/**
 * Where to write: standard output for `-` or nothing; what is there already and is no file (a FIFO, a device), in place; else a file that gets its
 * name once it is whole, and a link to one stays a link.
 *
 * @throws `usage.invalid` before anything is asked of the Host
 */
export async function openDestination(output: string | undefined): Promise<Destination> {
  if (output === undefined || output === '-') return { isTerminal: process.stdout.isTTY, write: writeOut }
  try {
    const found = await stat(output).catch(nothingThere)
    if (found?.isDirectory()) throw new Error('it is a directory')
    if (found && !found.isFile()) return { isTerminal: false, write: (archive) => writeInPlace(output, archive) }
    const file = await behindLinks(output)
    return { isTerminal: false, write: (archive) => saveTo(file, output, archive) }
  } catch (error) {
    throw notWritable(output, error)
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

async function writeOut(archive: IncomingMessage): Promise<void> {
  for await (const chunk of counted(archive)) await print(chunk)
}

/** Never makes a file: should the FIFO be gone by now, that is an error. */
async function writeInPlace(file: string, archive: IncomingMessage): Promise<void> {
  try {
    const handle = await open(file, constants.O_WRONLY)
    await pipeline(counted(archive), handle.createWriteStream())
  } catch (error) {
    archive.destroy()
    throw notWritable(file, error)
  }
}

/** @param shown what the user calls it */
async function saveTo(file: string, shown: string, archive: IncomingMessage): Promise<void> {
  const temporary = `${file}.part-${process.pid}`
  const view = createProgressView(process.stderr)
  try {
    await pipeline(counted(archive, (bytes) => view.update({ phase: 'export', bytes, totalBytes: null, message: printable(shown) })), createWriteStream(temporary, { flags: 'wx', flush: true }))
    await rename(temporary, file)
  } catch (error) {
    archive.destroy()
    await rm(temporary, { force: true })
    throw notWritable(shown, error)
  } finally {
    view.end()
  }
}

/** As many as Linux follows. */
const MAX_LINKS = 40

/** What a path leads to through symbolic links, be it there or not. */
async function behindLinks(path: string): Promise<string> {
  let found = path
  for (let links = 0; (await lstat(found).catch(nothingThere))?.isSymbolicLink(); links++) {
    if (links === MAX_LINKS) throw new Error('its symbolic links lead nowhere')
    found = resolve(dirname(found), await readlink(found))
  }
  return found
}

function nothingThere(error: unknown): undefined {
  if (systemErrorCode(error) !== 'ENOENT') throw error
}

function notWritable(file: string, error: unknown): unknown {
  if (isHakuError(error)) return error
  return new HakuError('usage.invalid', `${file} can not be written: ${errorMessage(error)}. Name a file with -o FILE, or write to standard output with -o -.`, { cause: error })
}

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
