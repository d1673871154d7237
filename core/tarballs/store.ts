import type { Readable } from 'node:stream'
import type { VersionManifest } from './manifest.ts'

/** One tarball on the shared storage. */
export interface TarballEntry {
  environment: string
  /** Unix seconds, unique and growing within the environment. */
  version: number
  fileName: string
  /** Bytes of the tarball. */
  size: number
}

/** A byte range: `start` inclusive, `end` exclusive. */
export interface ByteRange {
  start: number
  end: number
}

/** The beginning of a new tarball: the first `length` bytes of another one. */
export interface TarballStart {
  environment: string
  version: number
  length: number
}

/** A tarball that is being written, from its first byte to its last. Exactly one of {@link publish} and {@link abort} ends it. */
export interface TarballWriter {
  /** Bytes so far: where the next write goes. */
  readonly position: number
  /** The chunk MUST NOT change before it resolves. */
  write(chunk: Uint8Array): Promise<void>
  /** Flushes to stable storage and checks the size. Nothing is written after this. */
  finish(): Promise<void>
  /**
   * Makes tarball and manifest visible: tarball first, manifest last. MUST be atomic for readers, MUST refuse
   * (`environment.busy`) to replace a version that exists. Only after `finish`.
   */
  publish(manifest: VersionManifest): Promise<void>
  /** Forgets everything. Idempotent; MUST NOT throw if nothing is left. */
  abort(): Promise<void>
}

/**
 * Where tarballs live. Implementations: a directory (local disk, NFS) and S3. All pass `test/conformance/tarball-store`.
 *
 * - Every method MUST throw `storage.unavailable` when the storage itself is not there, and never answer "empty" for it.
 * - Names that do not follow the grammar of `core/paths` are invisible, never touched.
 * - Environment names are exact: `my-env` never means `my-env-gpu`.
 */
export interface TarballStore {
  /** All tarballs, by environment, then newest first. */
  list(): Promise<TarballEntry[]>
  /** Versions of one environment, newest first. */
  listVersions(environment: string): Promise<TarballEntry[]>
  /** One version by exact name, without a listing. `undefined` if it is not there. */
  find(environment: string, version: number): Promise<TarballEntry | undefined>
  /**
   * The manifest of a version, checked against its schema and against the tarball's size.
   * `undefined` for a tarball without one (made by other tools).
   *
   * @throws `tarball.not_found`, `tarball.damaged`
   */
  readManifest(environment: string, version: number): Promise<VersionManifest | undefined>
  /**
   * A word that is another one whenever {@link listVersions} or {@link readManifest} may say something else about this version, or about which
   * versions there are. `undefined`: look for yourself. What another process does shows within a second.
   */
  stamp(environment: string, version: number): Promise<string | undefined>
  /** Streams a tarball, or a range of it. Errors of the storage arrive on the stream. @throws `tarball.not_found` */
  read(environment: string, version: number, range?: ByteRange): Promise<Readable>
  /**
   * Starts writing a version. Nothing is visible before {@link TarballWriter.publish}. With `start` it begins as another tarball
   * does, copied by the storage itself where it can.
   */
  createWriter(environment: string, version: number, start?: TarballStart): Promise<TarballWriter>
  /** Removes a version: manifest first, so that no reader trusts half of it. Idempotent. */
  remove(environment: string, version: number): Promise<void>
  /** Removes what a crash of this owner left behind; never another owner's. Resolves to the removed keys. */
  sweep(): Promise<string[]>
  /** Bytes free on the storage, or `undefined` if it can not tell. */
  freeSpace(): Promise<number | undefined>
}
