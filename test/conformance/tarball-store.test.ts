import { mkdtempSync } from 'node:fs'
import { mkdir, readdir, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { tarballStoreSuite } from './tarball-store.ts'

tarballStoreSuite('directory', async () => {
  const root = mkdtempSync(join(tmpdir(), 'hakuriver-store-'))
  const directory = join(root, 'tarballs')
  let isGone = false
  await mkdir(directory)
  const put = (name: string) => join(directory, name)
  return {
    open: (ownerId) => createFileSystemStore({ directory, ownerId }),
    names: () => readdir(directory),
    plant: (name, content) => writeFile(put(name), content),
    unplant: (name) => unlink(put(name)),
    async takeAway() {
      await rename(directory, `${directory}.away`)
      isGone = true
    },
    async close() {
      const left = isGone ? [] : await readdir(directory)
      await rm(root, { recursive: true })
      return left
    },
  }
})
