import { type FSWatcher, watch } from 'node:fs'

/** Tells of changes in a directory. */
export interface DirectoryWatch {
  /** Resolves with the first change since the last call, or after a second. Rejects when `signal` fires. */
  next(signal: AbortSignal): Promise<void>
  close(): void
}

/** A file system that tells of no changes is looked at this often, and so is what makes no changes, such as the death of a process. */
const LOOK_MS = 1000

/** @param names of the files that matter */
export function watchDirectory(directory: string, names: readonly string[]): DirectoryWatch {
  let hasChanged = false
  let wake: () => void = () => undefined
  const watcher = openWatcher(directory, (name) => {
    if (name !== null && !names.includes(name)) return
    hasChanged = true
    wake()
  })
  return {
    async next(signal) {
      signal.throwIfAborted()
      if (!hasChanged) await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', done)
          resolve()
        }
        const timer = setTimeout(done, LOOK_MS)
        signal.addEventListener('abort', done)
        wake = done
      })
      hasChanged = false
      signal.throwIfAborted()
    },
    close: () => watcher?.close(),
  }
}

// --- internal ---

function openWatcher(directory: string, onChange: (name: string | null) => void): FSWatcher | undefined {
  try {
    const watcher = watch(directory, { persistent: false }, (_, name) => onChange(name))
    // What is wrong with the directory shows when it is looked at.
    watcher.on('error', () => undefined)
    return watcher
  } catch {
    // There are only so many watches on a machine, and it goes without.
    return undefined
  }
}
