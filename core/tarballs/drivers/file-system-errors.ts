import { errorMessage, HakuError, systemErrorCode } from '../../errors.ts'

/** Where a system error came from, for its message. */
export interface Place {
  directory: string
  /** The one file in it, if it was about one. */
  file?: string
  /** Bytes that were to be stored in all, as far as known. */
  neededBytes?: number | undefined
  freeBytes?: number | undefined
}

/** What a file system says, in the words of the storage: `storage.full` or `storage.unavailable`, with place and cure. Anything else stays as it is. */
export function storageError(error: unknown, place: Place): unknown {
  const code = systemErrorCode(error)
  if (error instanceof HakuError || code === undefined) return error
  if (isFull(error)) return fullError(error, code, place)
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const what = code === 'ENOENT' ? 'does not exist' : 'is not a directory'
    return new HakuError('storage.unavailable', `The tarball directory ${place.directory} ${what}. Is the shared directory mounted on this machine? See [paths] shared_dir and [docker] container_dir.`, { cause: error })
  }
  return new HakuError('storage.unavailable', `The shared storage at ${place.file ?? place.directory} can not be used: ${errorMessage(error)}. ${cure(code)}`, { cause: error })
}

/** Whether a file system refused for want of space: its own, or what this user may have of it. */
export function isFull(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/** `bytes` for people: `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10))
  const amount = bytes / 1024 ** power
  return `${power === 0 ? amount : amount.toFixed(1)} ${UNITS[power] ?? ''}`
}

// --- internal ---

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']

function fullError(error: unknown, code: string, { directory, neededBytes, freeBytes }: Place): HakuError {
  const sizes = [
    ...(neededBytes === undefined ? [] : [`at least ${formatBytes(neededBytes)} needed`]),
    ...(freeBytes === undefined ? [] : [`${formatBytes(freeBytes)} free`]),
  ]
  const numbers = sizes.length === 0 ? '' : `: ${sizes.join(', ')}`
  return new HakuError('storage.full', `The shared storage at ${directory} is full (${code})${numbers}. Make room and try again; nothing of what was there has changed.`, { cause: error })
}

function cure(code: string): string {
  if (code === 'EROFS') return 'It is mounted read-only: mount it read-write.'
  if (code === 'EACCES' || code === 'EPERM') return 'Give the user that runs HakuRiver the right to read and write there.'
  return 'Check that the shared storage is mounted and answers on this machine.'
}
