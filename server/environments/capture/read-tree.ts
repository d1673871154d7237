import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { text } from 'node:stream/consumers'
import { HakuError } from '#core/errors.ts'
import { printable } from '#core/names.ts'
import { readTar, type ReadEntry } from '#core/tarballs/tar/read.ts'

/**
 * Reads paths of a directory tree as tar entries, with extended attributes, which Node.js has no call for: GNU tar does the reading. What
 * it writes is only a way to here; the layer's own bytes are ours.
 *
 * @param paths latin1, parents before children; of a directory only itself
 * @throws `internal.error` if the tree changed meanwhile, or tar is not there
 */
export async function* readTree(root: string, paths: Iterable<string>, signal?: AbortSignal): AsyncGenerator<ReadEntry> {
  const tar = spawn('tar', [...OPTIONS, '-C', root, '--files-from=-'], { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C' }, ...(signal && { signal }) })
  const ended = once(tar, 'close')
  // Told below, in the stream; alone it must not count as unhandled.
  ended.catch(() => undefined)
  const complaints = text(tar.stderr)
  // tar that ended early says why on its stderr; the broken pipe adds nothing.
  pipeline(Readable.from(names(paths)), tar.stdin).catch(() => undefined)

  /** What tar writes; at its end comes why it ended, wherever in the archive that is. */
  async function* output(): AsyncGenerator<Buffer> {
    yield* tar.stdout as AsyncIterable<Buffer>
    signal?.throwIfAborted()
    const [code] = (await ended) as [number | null]
    if (code !== 0) throw new HakuError('internal.error', `tar could not read the change of the container (${code === null ? 'it was ended' : `exit code ${code}`}). Was the container started, or is the disk damaged? tar says: ${printable((await complaints).trim().slice(0, 500))}`)
  }
  try {
    yield* readTar(output())
  } finally {
    tar.kill()
  }
}

/** Whether this machine has the tar that {@link readTree} needs. */
export async function canReadTrees(): Promise<boolean> {
  try {
    const tar = spawn('tar', ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] })
    const [version] = await Promise.all([text(tar.stdout), once(tar, 'close')])
    return version.includes('GNU tar')
  } catch {
    // There is no tar at all.
    return false
  }
}

// --- internal ---

const OPTIONS = ['--create', '--format=posix', '--xattrs', '--xattrs-include=*', '--no-recursion', '--null', '--verbatim-files-from', '--no-unquote', '--numeric-owner', '--pax-option=delete=atime,delete=ctime', '--warning=none']

function* names(paths: Iterable<string>): Generator<Buffer> {
  let batch = ''
  for (const path of paths) {
    batch += `./${path}\0`
    if (batch.length < 65_536) continue
    yield Buffer.from(batch, 'latin1')
    batch = ''
  }
  yield Buffer.from(batch, 'latin1')
}
