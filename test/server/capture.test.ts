import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { diffTrees } from '#server/environments/capture/changes.ts'
import { createCapturedStates } from '#server/environments/capture/states.ts'
import { scanTree, type Tree } from '#server/environments/capture/tree.ts'

/** A tree by what matters of each path: kind, inode, a number that changes with everything else, names. */
function tree(paths: Record<string, [kind: string, inode: number, state?: number, names?: number]>): Tree {
  return new Map(Object.entries(paths).map(([path, [kind, inode, state = 0, names = 1]]) => [path, `${kind} 644 0 0 10 ${kind === 'd' || kind === 'D' ? 0 : names} 0 ${inode} ${state} ${state}`]))
}

const nothing = { entries: [], opaque: [], deleted: [] }

describe('the difference of two states of a writable layer', () => {
  it('of the same is nothing', () => {
    const state = tree({ a: ['d', 1], 'a/f': ['f', 2], gone: ['w', 3] })
    expect(diffTrees(state, new Map(state))).toEqual(nothing)
  })

  it('of the empty one is everything, with whiteouts and opaque directories', () => {
    expect(diffTrees(undefined, tree({ a: ['D', 1], 'a/f': ['f', 2], gone: ['w', 3], s: ['s', 4] }))).toEqual({ entries: ['a', 'a/f'], opaque: ['a'], deleted: ['gone'] })
  })

  it('tells of a changed file with the directories above it', () => {
    const before = tree({ a: ['d', 1], 'a/b': ['d', 2], 'a/b/f': ['f', 3], 'a/g': ['f', 4] })
    expect(diffTrees(before, tree({ a: ['d', 1], 'a/b': ['d', 2], 'a/b/f': ['f', 3, 1], 'a/g': ['f', 4] }))).toEqual({ ...nothing, entries: ['a', 'a/b', 'a/b/f'] })
  })

  it('tells of a deletion once, for the topmost', () => {
    const before = tree({ a: ['d', 1], 'a/b': ['d', 2], 'a/b/f': ['f', 3] })
    expect(diffTrees(before, tree({ a: ['d', 1, 1] }))).toEqual({ ...nothing, entries: ['a'], deleted: ['a/b'] })
  })

  it('a directory for a file and a file for a directory need no whiteouts', () => {
    const before = tree({ a: ['d', 1], 'a/f': ['f', 2], b: ['f', 3] })
    expect(diffTrees(before, tree({ a: ['f', 4], b: ['d', 5], 'b/f': ['f', 6] }))).toEqual({ ...nothing, entries: ['a', 'b', 'b/f'] })
  })

  it('a directory in place of another hides what was in it, and is told whole', () => {
    const before = tree({ a: ['d', 1], 'a/old': ['f', 2], 'a/d': ['d', 3], 'a/d/x': ['f', 4] })
    const now = tree({ a: ['d', 9, 1], 'a/d': ['d', 3], 'a/d/y': ['f', 4] })
    // Nothing below an opaque directory is whited out: where nothing is hidden, a whiteout shows in listings.
    expect(diffTrees(before, now)).toEqual({ entries: ['a', 'a/d', 'a/d/y'], opaque: ['a'], deleted: [] })
  })

  it('a directory that became opaque under its old inode too', () => {
    const before = tree({ a: ['d', 1], 'a/kept': ['f', 2], 'a/gone': ['w', 3] })
    expect(diffTrees(before, tree({ a: ['D', 1, 1], 'a/kept': ['f', 2] }))).toEqual({ entries: ['a', 'a/kept'], opaque: ['a'], deleted: [] })
  })

  it('names of one file go together', () => {
    const before = tree({ a: ['f', 1], b: ['f', 2, 0, 2], d: ['d', 5], 'd/b': ['f', 2, 0, 2] })
    const now = tree({ a: ['f', 2, 1, 3], b: ['f', 2, 1, 3], d: ['d', 5], 'd/b': ['f', 2, 1, 3] })
    expect(diffTrees(before, now)?.entries).toEqual(['a', 'b', 'd', 'd/b'])
  })

  it('can not tell of something that shows again', () => {
    expect(diffTrees(tree({ gone: ['w', 1] }), tree({}))).toBeUndefined()
    expect(diffTrees(tree({ a: ['D', 1] }), tree({ a: ['d', 1, 1] }))).toBeUndefined()
    // Hidden by what is above, it does not show.
    expect(diffTrees(tree({ a: ['d', 1], 'a/gone': ['w', 2] }), tree({ a: ['w', 3] }))).toEqual({ ...nothing, deleted: ['a'] })
  })
})

describe('the state of a capture', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-states-'))
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  const state = { containerId: 'c', upperDir: '/upper', version: 5, tree: new Map([['odd \xff\n/path', 'f 1 2'], ['b', 'd 3 4']]) }

  it('comes back as it was, and is replaced as a whole', async () => {
    const states = createCapturedStates(join(directory, 'captures'))
    expect(await states.load('env')).toBeUndefined()
    await states.save('env', { ...state, version: 4 })
    await states.save('env', state)
    expect(await states.load('env')).toEqual(state)
    expect(await states.load('env-gpu')).toBeUndefined()
    await states.remove('env')
    expect(await states.load('env')).toBeUndefined()
  })

  it.each(['cut', 'not ours', 'zeroed in the middle'])('that is %s counts as none', async (damage) => {
    const states = createCapturedStates(directory)
    await states.save('env', state)
    if (damage === 'cut') truncateSync(join(directory, 'env'), readFileSync(join(directory, 'env')).length - 5)
    else if (damage === 'not ours') writeFileSync(join(directory, 'env'), 'garbage\0end')
    else writeFileSync(join(directory, 'env'), readFileSync(join(directory, 'env')).fill(0, 70, 80))
    expect(await states.load('env')).toBeUndefined()
  })

  it('changes with content, attributes and names of a file', async () => {
    const file = join(directory, 'f')
    mkdirSync(join(directory, 'd'))
    writeFileSync(file, 'one')
    const first = await scanTree(directory)
    expect([...first.keys()].toSorted()).toEqual(['d', 'f'])
    expect(await scanTree(directory)).toEqual(first)
    writeFileSync(file, 'two')
    expect((await scanTree(directory)).get('f')).not.toBe(first.get('f'))
  })
})
