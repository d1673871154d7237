import { mkdtempSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sharedPaths } from '#core/paths.ts'
import { openOutputFiles } from '#runner/executors/output-files.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hakuriver-runner-parts-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

describe('output files', () => {
  const task = { id: 'task', instance: 1 }
  const chunk = (channel: 'stdout' | 'stderr', text: string) => ({ channel, bytes: Buffer.from(text) })

  it('goes on at the end of what is there, or writes over it', async () => {
    const paths = sharedPaths(root, 'tarballs')
    await writeFile(paths.mark, '')
    const first = await openOutputFiles(paths, task, { from: 'empty', maxBytes: null })
    await first.write([chunk('stdout', 'ab'), chunk('stderr', 'x'), chunk('stdout', 'cd')])
    await first.close()
    const second = await openOutputFiles(paths, task, { from: 'end', maxBytes: null })
    expect(second.positions).toEqual({ stdout: 4, stderr: 1 })
    await second.write([chunk('stdout', 'ef')])
    await second.finish()
    const third = await openOutputFiles(paths, task, { from: 'start', maxBytes: null })
    await third.write([chunk('stdout', 'AB')])
    await third.finish()
    expect(await readFile(paths.stdout(task.id, 1), 'utf8')).toBe('ABcdef')
    expect(await readFile(paths.stderr(task.id, 1), 'utf8')).toBe('x')
  })

  it('never makes the shared directory itself', async () => {
    await expect(openOutputFiles(sharedPaths(join(root, 'missing'), 'tarballs'), task, { from: 'empty', maxBytes: null })).rejects.toMatchObject({ code: 'storage.unavailable' })
  })

  it('writes nothing where the shared directory is not mounted', async () => {
    await expect(openOutputFiles(sharedPaths(root, 'tarballs'), task, { from: 'empty', maxBytes: null })).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('mounted') })
    expect(await readdir(root)).toEqual([])
  })

  it('names the file that can not be written', async () => {
    const paths = sharedPaths(root, 'tarballs')
    await writeFile(paths.mark, '')
    await mkdir(paths.stderr(task.id, 1), { recursive: true })
    await expect(openOutputFiles(paths, task, { from: 'end', maxBytes: null })).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining(root) })
  })

  it('are those of one execution', async () => {
    const paths = sharedPaths(root, 'tarballs')
    await writeFile(paths.mark, '')
    for (const instance of [1, 2]) {
      const files = await openOutputFiles(paths, { id: 'task', instance }, { from: 'empty', maxBytes: null })
      await files.write([chunk('stdout', `of ${instance}`)])
      await files.finish()
    }
    expect(await Promise.all(['task.out', 'task-2.out'].map((name) => readFile(join(paths.outputs, name), 'utf8')))).toEqual(['of 1', 'of 2'])
  })

  describe('with a limit', () => {
    const mark = '\n[hakuriver] The output is longer than 10 bytes, the limit set by logs.max_bytes. The rest was cut off here.\n'

    async function write(texts: string[], { crashAt = Infinity } = {}): Promise<string> {
      const paths = sharedPaths(root, 'tarballs')
      await writeFile(paths.mark, '')
      const open = (from: 'empty' | 'end') => openOutputFiles(paths, task, { from, maxBytes: 10 })
      let files = await open('empty')
      for (const [index, text] of texts.entries()) {
        if (index === crashAt) {
          await files.close()
          files = await open('end')
          // What a reader does that begins anew: it skips what the file holds.
          const before = texts.slice(0, index).join('')
          await files.write([chunk('stdout', before.slice(files.positions.stdout))])
        }
        await files.write([chunk('stdout', text)])
      }
      const { sizes } = files
      await files.finish()
      const content = await readFile(paths.stdout('task', 1), 'utf8')
      expect(sizes).toEqual({ stdout: content.length, stderr: 0 })
      return content
    }

    it.each([
      ['less', ['12345', '678'], '12345678'],
      ['exactly as much', ['12345', '67890'], '1234567890'],
      ['one byte more', ['12345', '678901'], `1234567890${mark}`],
      ['much more', ['123456789012345', 'abc', 'def'], `1234567890${mark}`],
      ['more after just as much', ['1234567890', 'x'], `1234567890${mark}`],
    ])('%s is kept as it should be', async (_, texts, content) => {
      expect(await write(texts)).toBe(content)
    })

    it.each([1, 2, 3])('has one mark after a crash before piece %i', async (crashAt) => {
      expect(await write(['12345678', '90', 'abc', 'def'], { crashAt })).toBe(`1234567890${mark}`)
    })

    it('completes half a mark', async () => {
      const paths = sharedPaths(root, 'tarballs')
      await writeFile(paths.mark, '')
      await mkdir(paths.outputs)
      await writeFile(paths.stdout('task', 1), `1234567890${mark.slice(0, 20)}`)
      const files = await openOutputFiles(paths, task, { from: 'end', maxBytes: 10 })
      expect(files.positions.stdout).toBe(10)
      await files.write([chunk('stdout', 'more')])
      await files.finish()
      expect(await readFile(paths.stdout('task', 1), 'utf8')).toBe(`1234567890${mark}`)
    })
  })
})
