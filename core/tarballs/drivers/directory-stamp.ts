import { stat } from 'node:fs/promises'
import { systemErrorCode } from '../../errors.ts'

/** Of the coarsest clock of files: a second. */
const FILE_CLOCK_MS = 1100
/** Values are hardly ever written over, and the directory does not tell of that: they are looked at now and then. */
const VALUES_MS = 500
const MAX_VALUES = 1000

/** The `stamp` of a directory's driver: see `StreamingDriver`. `paths`: of the values. Throws errors of the system. */
export function createDirectoryStamp(directory: string): (paths: readonly string[]) => Promise<string | undefined> {
  /** The directory as it was seen last, and since when. */
  let seen = { word: '', since: 0 }
  const values = new Map<string, { word: Promise<string>; at: number }>()

  function valuesOf(paths: readonly string[]): Promise<string> {
    const name = paths.join('\n')
    const known = values.get(name)
    if (known && performance.now() - known.at < VALUES_MS) return known.word
    if (values.size >= MAX_VALUES) values.clear()
    const word = Promise.all(paths.map(wordOf)).then((words) => words.join(' '))
    values.set(name, { word, at: performance.now() })
    word.catch(() => values.delete(name))
    return word
  }

  return async (paths) => {
    const { ino, mtimeNs } = await stat(directory, { bigint: true })
    const word = `${ino}-${mtimeNs}`
    if (seen.word !== word) seen = { word, since: performance.now() }
    // A clock of files may stand still for a moment: only what has been the same for longer than that tells of each change.
    if (performance.now() - seen.since < FILE_CLOCK_MS) return undefined
    return `${word} ${await valuesOf(paths)}`
  }
}

// --- internal ---

async function wordOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true })
    return `${ino}-${size}-${mtimeNs}`
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 'none'
    throw error
  }
}
