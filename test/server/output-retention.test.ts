import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type SharedPaths, sharedPaths } from '#core/paths.ts'
import { createRetention, type Retention } from '#server/output/retention.ts'

const DAY_MS = 86_400_000
const NOW = Date.now()
const OLD = new Date(NOW - 8 * DAY_MS)

let directory: string
let paths: SharedPaths
let retention: Retention
/** Task → when it ended. */
let ended: Map<string, string>
/** How many tasks were asked for at a time. */
let steps: number[]

beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => undefined)
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-retention-'))
  paths = sharedPaths(directory, 'tarballs')
  for (const path of [paths.outputs, paths.errors]) mkdirSync(path)
  writeFileSync(paths.mark, '')
  ended = new Map()
  steps = []
  retention = create(7)
})
afterEach(async () => {
  await retention.close()
  rmSync(directory, { recursive: true })
  vi.restoreAllMocks()
})

function create(keepDays: number): Retention {
  return createRetention({
    paths, keepDays, now: () => NOW,
    async endedBefore(ids, time) {
      steps.push(ids.length)
      return new Set(ids.filter((id) => (ended.get(id) ?? '9') < time))
    },
  })
}

const idOf = (name: string) => name.padStart(26, '0')

/** A task that ended so many days ago, with both of its files. */
function printed(name: string, days: number, { instance = 1, modified = new Date(NOW - days * DAY_MS) } = {}): string {
  const id = idOf(name)
  for (const file of [paths.stdout(id, instance), paths.stderr(id, instance)]) {
    writeFileSync(file, 'x')
    utimesSync(file, modified, modified)
  }
  ended.set(id, new Date(NOW - days * DAY_MS).toISOString())
  return id
}

const left = () => [...readdirSync(paths.outputs), ...readdirSync(paths.errors)].toSorted()

it('removes all files of tasks that ended longer ago, and no others', async () => {
  const old = printed('old', 8)
  printed('old', 8, { instance: 2 })
  const young = printed('young', 6)
  const running = printed('running', 30)
  ended.delete(running)
  expect(await retention.sweep()).toBe(4)
  expect(left()).toEqual([`${running}.err`, `${running}.out`, `${young}.err`, `${young}.out`].toSorted())
  expect(ended.has(old)).toBe(true)
})

it('leaves what is no output of ours alone', async () => {
  const id = printed('old', 8)
  const foreign = ['notes.out', `${id}-1.out`, `${id}-0.out`, `${id}.err`, `${id}.out.bak`, `${id.toUpperCase()}.out`]
  for (const name of foreign) writeFileSync(join(paths.outputs, name), 'x')
  mkdirSync(join(paths.outputs, `${idOf('folder')}.out`))
  symlinkSync(paths.mark, join(paths.outputs, `${idOf('link')}.out`))
  for (const name of ['folder', 'link']) ended.set(idOf(name), OLD.toISOString())
  for (const name of foreign) utimesSync(join(paths.outputs, name), OLD, OLD)
  await retention.sweep()
  expect(readdirSync(paths.outputs).toSorted()).toEqual([...foreign, `${idOf('folder')}.out`, `${idOf('link')}.out`].toSorted())
  expect(existsSync(paths.mark)).toBe(true)
})

it('believes no clock alone: a file that was written lately stays', async () => {
  const id = printed('wrong', 300, { modified: new Date(NOW - DAY_MS) })
  expect(await retention.sweep()).toBe(0)
  expect(left()).toEqual([`${id}.err`, `${id}.out`])
})

it('goes in small steps', async () => {
  for (let index = 0; index < 450; index++) printed(`t${index}`, 8)
  expect(await retention.sweep()).toBe(900)
  expect(left()).toEqual([])
  expect(Math.max(...steps)).toBe(200)
})

it('keeps everything for ever unless told otherwise, and does nothing without the shared directory', async () => {
  printed('old', 8)
  await retention.close()
  retention = create(0)
  expect(await retention.sweep()).toBe(0)
  await retention.close()
  retention = create(7)
  rmSync(paths.mark)
  await expect(retention.sweep()).rejects.toThrow(expect.objectContaining({ code: 'storage.unavailable' }))
  expect(left()).toHaveLength(2)
})

it('stops in the middle when the Host does', async () => {
  for (let index = 0; index < 450; index++) printed(`t${index}`, 8)
  const swept = retention.sweep()
  await retention.close()
  await expect(swept).rejects.toThrow('abort')
  expect(left().length).toBeGreaterThan(0)
})
