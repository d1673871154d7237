import type { Readable } from 'node:stream'
import type { Driver } from 'unstorage'
import type { ByteRange } from './store.ts'

/**
 * An unstorage driver that can also stream: unstorage itself holds whole values in memory, and tarballs have gigabytes.
 * Keys are plain file names.
 *
 * All methods MUST throw `storage.unavailable` when the storage itself is not there, `storage.full` when it is full.
 */
export interface StreamingDriver extends Driver {
  /**
   * Names and sizes of everything whose key begins with `prefix`, temporary things too. MUST NOT take a storage that is not
   * there for an empty one.
   */
  listEntries(prefix?: string): Promise<{ key: string; size: number }[]>
  /** `undefined` if it is not there. MUST ask the storage for this very key, without a listing. */
  stat(key: string): Promise<{ size: number } | undefined>
  /** A bounded part of it in memory. Rejects with `tarball.not_found`; a value that ends early MUST fail (`tarball.damaged`) on the stream. */
  openRange(key: string, range?: ByteRange): Promise<Readable>
  /** A new value, which may begin with a copy of another. */
  createFile(keys: FileKeys, start?: CopiedStart): Promise<StreamedFile>
  /** Removes everything that a process which died left under a temporary key. Idempotent. */
  discard(temporaryKey: string): Promise<void>
  /**
   * A word that is another one whenever a key has come or gone anywhere, or the value of one of `keys` has changed since. `undefined`: that can not be
   * told now. MUST be far cheaper than a listing; what another process does MUST show within a second.
   */
  stamp(keys: readonly string[]): Promise<string | undefined>
  /** Bytes free, or `undefined` if the storage can not tell. */
  freeSpace(): Promise<number | undefined>
}

export interface FileKeys {
  /** Under which it may be found until it is committed. */
  temporary: string
  /** Under which it is found then. */
  final: string
}

/** The first `length` bytes of the value under `key`. MUST NOT pass through this process if the storage can copy by itself. */
export interface CopiedStart {
  key: string
  length: number
}

/** A value that is being written; {@link StreamedFile.commit} or {@link StreamedFile.abort} ends it. */
export interface StreamedFile {
  /** Bytes so far, the copied ones too: where the next write goes. */
  readonly position: number
  /** Appends. The chunk MUST NOT change before it resolves. Calls may overlap; they take place in their order. */
  write(chunk: Uint8Array): Promise<void>
  /** Flushes to stable storage and checks the size. Nothing is written after this. A small value MUST be found under its temporary key from now on. */
  finish(): Promise<void>
  /**
   * Gives it its final key, atomically, and on stable storage. MUST NOT replace an existing value (`environment.busy`), and MUST leave nothing
   * under that key when it fails otherwise. Only after `finish`.
   */
  commit(): Promise<void>
  /** Idempotent. */
  abort(): Promise<void>
}
