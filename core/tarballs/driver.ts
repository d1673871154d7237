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
  /** Names and sizes of everything, temporary things too. MUST NOT take a storage that is not there for an empty one. */
  listEntries(): Promise<{ key: string; size: number }[]>
  /** `undefined` if it is not there. MUST ask the storage for this very key, without a listing. */
  stat(key: string): Promise<{ size: number } | undefined>
  /** A bounded part of it in memory. Rejects with `tarball.not_found`; a value that ends early MUST fail (`tarball.damaged`) on the stream. */
  openRange(key: string, range?: ByteRange): Promise<Readable>
  /** A new value under a temporary key. */
  createFile(temporaryKey: string): Promise<StreamedFile>
  /** Bytes free, or `undefined` if the storage can not tell. */
  freeSpace(): Promise<number | undefined>
}

/** A value that is being written; {@link StreamedFile.commit} or {@link StreamedFile.abort} ends it. */
export interface StreamedFile {
  readonly position: number
  /** Appends. It is stored when it resolves, and the chunk MUST NOT change before. Calls may overlap; they take place in their order. */
  write(chunk: Uint8Array): Promise<void>
  patch(position: number, chunk: Uint8Array): Promise<void>
  readBack(): Readable
  /** Flushes to stable storage and checks the size. Nothing is written after this. */
  finish(): Promise<void>
  /**
   * Gives it its final key, atomically, and on stable storage. MUST NOT replace an existing value (`environment.busy`), and MUST leave nothing
   * under that key when it fails otherwise. Only after `finish`.
   */
  commit(key: string): Promise<void>
  /** Idempotent. */
  abort(): Promise<void>
}
