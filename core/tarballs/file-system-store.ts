import { createFileSystemDriver } from './drivers/file-system.ts'
import type { TarballStore } from './store.ts'
import { createTarballStore } from './tarball-store.ts'

export interface FileSystemStoreOptions {
  /** Where the tarballs are: `SharedPaths.tarballs`. Must exist. */
  directory: string
  /** Whose temporary files are ours: a Host's id. */
  ownerId: string
}

/** Tarballs in a directory: local disk or NFS. */
export function createFileSystemStore({ directory, ownerId }: FileSystemStoreOptions): TarballStore {
  return createTarballStore(createFileSystemDriver({ directory }), ownerId)
}
