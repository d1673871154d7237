import { createFileSystemDriver } from './drivers/file-system.ts'
import type { TarballStore } from './store.ts'
import { createTarballStore } from './tarball-store.ts'

export interface FileSystemStoreOptions {
  /** Where the tarballs are: `SharedPaths.tarballs`. Must exist. */
  directory: string
  /** Whose temporary files are ours: a Host's id. */
  ownerId: string
  /** `SharedPaths.mark`: where it is missing, the storage is. Left out: an empty directory is one without tarballs. */
  mark?: string
}

/** Tarballs in a directory: local disk or NFS. */
export function createFileSystemStore({ directory, ownerId, mark }: FileSystemStoreOptions): TarballStore {
  return createTarballStore(createFileSystemDriver({ directory, ...(mark !== undefined && { mark }) }), ownerId)
}
