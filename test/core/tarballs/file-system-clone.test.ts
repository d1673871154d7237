import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { manifestWith } from '#test/support/environments.ts'
import { createRandom } from '#simulator/random.ts'
import { findProgram } from '../../../build/programs.mjs'

const missing = whyNot()
if (missing) console.log(`tarballs on a file system that clones are not tested: ${missing}`)

/** A file system in a file, mounted for the test. */
describe.skipIf(missing)('on a file system that clones (XFS)', () => {
  let directory: string
  let mount: string

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-xfs-'))
    mount = join(directory, 'mount')
    mkdirSync(mount)
    must('truncate', '--size=400M', join(directory, 'disk'))
    must('mkfs.xfs', '-q', '-m', 'reflink=1', join(directory, 'disk'))
    must('mount', '-o', 'loop', join(directory, 'disk'), mount)
  })
  afterAll(() => {
    spawnSync('umount', [mount])
    rmSync(directory, { recursive: true })
  })

  it('a tarball that begins as another does takes no room but for what is new', async () => {
    const store = createFileSystemStore({ directory: mount, ownerId: 'me' })
    const content = createRandom(1).bytes(20_000_000)
    const publish = async (version: number, added: Buffer, start?: { environment: string; version: number; length: number }) => {
      const writer = await store.createWriter('env', version, start)
      await writer.write(added)
      await writer.finish()
      await writer.publish(manifestWith({ environment: 'env', version, size: writer.position }))
    }
    await publish(1, content)
    const used = () => statfsSync(mount).blocks - statfsSync(mount).bfree
    const before = used()
    await publish(2, Buffer.from('new'), { environment: 'env', version: 1, length: content.length })
    expect((used() - before) * statfsSync(mount).bsize).toBeLessThan(1_000_000)
    expect((await buffer(await store.read('env', 2))).equals(Buffer.concat([content, Buffer.from('new')]))).toBe(true)
    // What the one loses is not lost to the other.
    truncateSync(join(mount, 'env-1.tar'), 0)
    expect(readFileSync(join(mount, 'env-2.tar')).subarray(0, content.length).equals(content)).toBe(true)
  })
})

function must(program: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program}: ${stderr}`)
}

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can mount one'
  if (!findProgram('mkfs.xfs')) return 'there is no program mkfs.xfs: install the package xfsprogs'
  return readFileSync('/proc/filesystems', 'utf8').includes('\txfs\n') ? undefined : 'this kernel has no XFS'
}
