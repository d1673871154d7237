import { createHash } from 'node:crypto'
import { createTransport } from '#core/engine/transport.ts'
import { readTar, type ReadEntry } from '#core/tarballs/tar/read.ts'
import { readTree } from '#server/environments/capture/read-tree.ts'
import { scanTree } from '#server/environments/capture/tree.ts'

/** What the Engine's init layer makes for each container. */
const OF_THE_ENGINE = /^(?:\.dockerenv|etc\/(?:hosts|hostname|resolv\.conf|mtab)|(?:dev|proc|sys)(?:\/.*)?)$/
/** Directories in which it makes them: their times are those of the container's creation. */
const TOUCHED = new Set(['', 'etc', 'dev', 'proc', 'sys'])

/**
 * What of times and attributes is compared: `all` there is, but for times before 1970, which an Engine sets to 1970 when it loads; or what a
 * `commit` keeps, which are whole seconds and file capabilities.
 */
export type Precision = 'all' | 'committed'

/** A container's whole file system as its Engine exports it: path → everything there is to say of it. */
export async function exportedFileSystem(socketPath: string, container: string): Promise<Map<string, string>> {
  const stream = await createTransport(socketPath).open({ method: 'GET', path: `/containers/${container}/export`, what: 'export' })
  return describe(readTar(stream), 'all')
}

/** Process id of a running container's init on this machine. */
export async function pidOf(socketPath: string, container: string): Promise<number> {
  const { State } = (await createTransport(socketPath).call({ method: 'GET', path: `/containers/${container}/json`, what: 'inspect' })) as { State: { Pid: number } }
  return State.Pid
}

/** The same for a directory on this machine, with what an export leaves out: all extended attributes, and times to the nanosecond. */
export async function fileSystemAt(directory: string, precision: Precision): Promise<Map<string, string>> {
  return describe(readTree(directory, [...(await scanTree(directory)).keys()].toSorted()), precision)
}

// --- internal ---

async function describe(entries: AsyncGenerator<ReadEntry>, precision: Precision): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for await (const { entry, content } of entries) {
    const hash = createHash('sha256')
    for await (const chunk of content) hash.update(chunk)
    const { path, mtime, xattrs, ...rest } = entry
    if (OF_THE_ENGINE.test(path)) continue
    const time = mtime.startsWith('-') ? '0' : precision === 'all' ? mtime : mtime.replace(/\..*/, '')
    const attributes = [...xattrs].toSorted().filter(([name]) => (precision === 'all' ? name !== 'security.selinux' : name === 'security.capability'))
    const stated = { ...rest, mtime: TOUCHED.has(path) ? '' : time, xattrs: attributes, sha256: entry.size > 0 ? hash.digest('hex') : '' }
    found.set(path, JSON.stringify(stated))
  }
  return found
}
