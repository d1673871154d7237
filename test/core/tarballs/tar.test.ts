import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encodeEntry } from '#core/tarballs/tar/encode.ts'
import { END_OF_ARCHIVE, padding, type TarEntry } from '#core/tarballs/tar/entry.ts'
import { readTar } from '#core/tarballs/tar/read.ts'

const PLAIN: TarEntry = { path: 'plain', type: 'file', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: '0', target: '', major: 0, minor: 0, xattrs: new Map() }

const entries: Record<string, Partial<TarEntry>> = {
  'a plain file': { path: 'dir/file', mode: 0o4755, uid: 1000, gid: 100, mtime: '1700000000' },
  'a name of 100 bytes': { path: 'n'.repeat(100) },
  'a directory of 100 bytes, which its slash makes longer': { path: 'd'.repeat(100), type: 'directory', mode: 0o1777 },
  'a name of 255 bytes far down': { path: `${'deep/'.repeat(50)}${'n'.repeat(255)}` },
  'a name of any bytes': { path: '\xff\xfe\x01\n "\\', mtime: '1' },
  'a long name of any bytes': { path: `${'\xff'.repeat(200)}\n` },
  'times before 1970 and finer than seconds': { mtime: '-86400.5' },
  'large ids': { uid: 4_294_967_294, gid: 3_000_000 },
  'a symlink, as it is': { type: 'symlink', target: './../a/', mode: 0o777 },
  'a long symlink of any bytes': { type: 'symlink', target: `/${'\xfe'.repeat(300)}`, mode: 0o777 },
  'a hard link': { type: 'link', target: 'dir/file' },
  'a device': { type: 'character', major: 1, minor: 3 },
  'a block device with a large number': { type: 'block', major: 259, minor: 70_000 },
  'a fifo': { type: 'fifo', mode: 0o600 },
  'extended attributes of any bytes': { xattrs: new Map([['security.capability', '\x01\x00\x00\x02'], ['user.note', 'a=b\n\0']]) },
}

/** In pieces of odd sizes. */
async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 333) yield bytes.subarray(at, at + 333)
}

async function read(bytes: Buffer): Promise<{ entry: TarEntry; content: string }[]> {
  const found: { entry: TarEntry; content: string }[] = []
  for await (const { entry, content } of readTar(pieces(bytes))) {
    let text = ''
    for await (const chunk of content) text += chunk.toString('latin1')
    found.push({ entry, content: text })
  }
  return found
}

function archive(...all: Partial<TarEntry & { content: string }>[]): Buffer {
  const parts = all.flatMap(({ content = '', ...given }) => [encodeEntry({ ...PLAIN, ...given, size: given.size ?? content.length }), Buffer.from(content, 'latin1'), padding(content.length)])
  return Buffer.concat([...parts, END_OF_ARCHIVE])
}

describe('an entry', () => {
  it.each(Object.entries(entries))('%s comes back as it was written', async (_, given) => {
    const bytes = archive({ ...given, path: given.path ?? 'x' }, { path: 'after', content: 'more' })
    expect(await read(bytes)).toEqual([
      { entry: { ...PLAIN, path: 'x', ...given }, content: '' },
      { entry: { ...PLAIN, path: 'after', size: 4 }, content: 'more' },
    ])
  })

  it('always gives the same bytes', () => {
    expect(encodeEntry({ ...PLAIN, xattrs: new Map([['b', '1'], ['a', '2']]) })).toEqual(encodeEntry({ ...PLAIN, xattrs: new Map([['a', '2'], ['b', '1']]) }))
  })

  it('of more than 8 GiB says so', async () => {
    const size = 9 * 1024 ** 3
    const header = encodeEntry({ ...PLAIN, size })
    async function* large(): AsyncGenerator<Buffer> {
      yield header
      const zeros = Buffer.alloc(64 * 1024 * 1024)
      for (let sent = 0; sent < size; sent += zeros.length) yield zeros
      yield END_OF_ARCHIVE
    }
    const sizes: number[] = []
    for await (const { entry } of readTar(large())) sizes.push(entry.size)
    expect(sizes).toEqual([size])
  })
})

describe('GNU tar', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-tar-'))
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  it('lists what we write', () => {
    writeFileSync(join(directory, 'ours.tar'), archive({ path: 'n'.repeat(200), content: 'long', uid: 3_000_000 }, { path: 'dir', type: 'directory' }, { path: 'link', type: 'link', target: 'n'.repeat(200) }))
    const { stdout, stderr } = spawnSync('tar', ['--numeric-owner', '-tvf', join(directory, 'ours.tar')], { encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(stdout.split('\n').map((line) => line.replace(/\s+/g, ' '))).toEqual([
      `-rw-r--r-- 3000000/0 4 1970-01-01 00:00 ${'n'.repeat(200)}`, 'drw-r--r-- 0/0 0 1970-01-01 00:00 dir/', `hrw-r--r-- 0/0 0 1970-01-01 00:00 link link to ${'n'.repeat(200)}`, '',
    ])
  })

  it.each(['gnu', 'posix', 'ustar', 'oldgnu'])('is read, in its format %s', async (format) => {
    const name = format === 'ustar' ? `${'d'.repeat(90)}/${'n'.repeat(90)}` : 'n'.repeat(200)
    spawnSync('mkdir', ['-p', join(directory, name, '..')])
    writeFileSync(join(directory, name), 'content', { mode: 0o640 })
    const { stdout } = spawnSync('tar', [`--format=${format}`, '-C', directory, '-c', `./${name}`])
    expect(await read(stdout)).toMatchObject([{ entry: { path: name, type: 'file', mode: 0o640, size: 7 }, content: 'content' }])
  })
})

describe('an archive that makes no sense', () => {
  const good = archive({ path: 'file', content: 'content' })
  const damaged = expect.objectContaining({ code: 'tarball.damaged' })

  it.each([
    ['no tar', Buffer.from('<html>'.repeat(200))],
    ['cut in a header', good.subarray(0, 300)],
    ['cut in the content', good.subarray(0, 515)],
    ['cut in the padding', good.subarray(0, 700)],
    ['a flipped bit in a header', Buffer.from(good).fill(0x41, 5, 6)],
    ['a sparse file of GNU', patchFlag(good, 'S')],
    ['a part of many', patchFlag(good, 'M')],
    ['an endless name', Buffer.concat([patchFlag(encodeEntry({ ...PLAIN, size: 2_000_000_000 }), 'L'), good])],
  ])('is refused: %s', async (_, bytes) => {
    await expect(read(bytes)).rejects.toThrow(damaged)
  })

  it('lets go of its source when nobody reads on', async () => {
    let isClosed = false
    async function* source(): AsyncGenerator<Buffer> {
      try {
        yield good
        yield good
      } finally {
        isClosed = true
      }
    }
    for await (const _ of readTar(source())) break
    expect(isClosed).toBe(true)
  })
})

function patchFlag(bytes: Buffer, flag: string): Buffer {
  const patched = Buffer.from(bytes)
  patched.write(flag, 156, 'latin1')
  patched.write(' '.repeat(8), 148, 'latin1')
  const sum = patched.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  patched.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return patched
}
