import { describe, expect, it } from 'vitest'
import { countIndexes, expand, firstIndexes, formatIndexes, hasIndex, parseIndexes, positionOf, readIndexes, takeIndexes, toIndexSet, withoutIndex, withoutIndexes } from '#core/tasks/index-set.ts'
import { indexesOf, replaceVariables, variablesOf } from '#core/tasks/items.ts'
import { createRandom } from '#simulator/random.ts'

const refused = expect.objectContaining({ code: 'task.items_invalid' })

describe('index sets', () => {
  it.each([
    ['1-3', [1, 2, 3]],
    ['5', [5]],
    ['7-9,1,3', [1, 3, 7, 8, 9]],
    ['0-10:5', [0, 5, 10]],
    ['0-11:5', [0, 5, 10]],
    ['1-5,3-7', [1, 2, 3, 4, 5, 6, 7]],
    ['1-9:2,2-8:2', [1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ['3,3,3', [3]],
    ['999999999', [999_999_999]],
  ])('%s has %j', (text, indexes) => {
    const set = parseIndexes(text)
    expect(expand(set)).toEqual(indexes)
    expect(countIndexes(set)).toBe(indexes.length)
    expect(readIndexes(formatIndexes(set))).toEqual(set)
    expect(indexes.map((index) => positionOf(set, index))).toEqual(indexes.map((_, position) => position))
  })

  it.each(['', '1,', '-1', '1-', '3-1', '1-3:0', '1 - 3', 'a', '1-2-3', '1:2', '1234567890', '1.5', '0-999999999', '1-1000001'])('%j is refused', (text) => {
    expect(() => parseIndexes(text)).toThrow(refused)
  })

  it('of a million is a few words, and so is what is left of it', () => {
    const set = parseIndexes('1-1000000')
    const { taken, rest } = takeIndexes(set, 3)
    expect([taken, formatIndexes(rest)]).toEqual([[1, 2, 3], '4-1000000'])
    expect(formatIndexes(withoutIndex(rest, 500))).toBe('4-499,501-1000000')
    expect(formatIndexes(toIndexSet(expand(set)))).toBe('1-1000000')
    expect(formatIndexes(firstIndexes(0))).toBe('')
  })

  it('are as sets of numbers are, whatever is done to them', () => {
    const random = createRandom(99).below
    for (let round = 0; round < 300; round++) {
      let model = Array.from({ length: 1 + random(40) }, () => random(60)).sort((left, right) => left - right).filter((index, place, all) => index !== all[place - 1])
      let set = toIndexSet(model)
      for (let step = 0; step < 10 && model.length > 0; step++) {
        const index = random(60)
        expect(hasIndex(set, index)).toBe(model.includes(index))
        const count = random(4)
        const taken = takeIndexes(set, count)
        expect(taken.taken).toEqual(model.slice(0, count))
        const others = Array.from({ length: random(5) }, () => random(60))
        model = model.slice(count).filter((each) => each !== index && !others.includes(each))
        set = withoutIndexes(withoutIndex(taken.rest, index), others)
        expect(expand(set)).toEqual(model)
        expect(expand(readIndexes(formatIndexes(set)))).toEqual(model)
      }
    }
  })
})

describe('items', () => {
  const sweep = { kind: 'sweep' as const, parameters: [{ name: 'a', values: ['1', '2'] }, { name: '__proto__', values: ['x', 'y', 'z'] }] }

  it('of a sweep are all combinations, the last name varying fastest', () => {
    expect(formatIndexes(indexesOf(sweep))).toBe('1-6')
    expect([1, 2, 3, 4, 5, 6].map((index) => Object.values(variablesOf(sweep, index)).join(''))).toEqual(['1x', '1y', '1z', '2x', '2y', '2z'])
    expect(Object.keys(variablesOf(sweep, 1))).toEqual(['a', '__proto__'])
  })

  it('of lines and arrays have a line and an index', () => {
    expect(variablesOf({ kind: 'lines', lines: ['a', 'b c'] }, 2)).toEqual({ line: 'b c' })
    expect(variablesOf({ kind: 'array', indexes: '7' }, 7)).toEqual({ index: '7' })
  })

  it.each([
    { kind: 'sweep' as const, parameters: [{ name: 'a', values: ['1'] }, { name: 'a', values: ['2'] }] },
    { kind: 'sweep' as const, parameters: [{ name: 'HAKURIVER_NODE', values: ['1'] }] },
    { kind: 'sweep' as const, parameters: ['a', 'b'].map((name) => ({ name, values: Array.from({ length: 1001 }, String) })) },
  ])('refuses %o', (items) => {
    expect(() => indexesOf(items)).toThrow(refused)
  })

  it.each([
    ['--lr=%{lr}', '--lr=0.1'],
    ['%{lr}%{lr}', '0.10.1'],
    ['%{http_code} %{toString} %lr {lr} %{}', '%{http_code} %{toString} %lr {lr} %{}'],
    ['%{x}', '%{lr}'],
    ['%{money}', '$& $1'],
  ])('%s becomes %s', (text, replaced) => {
    expect(replaceVariables(text, { lr: '0.1', x: '%{lr}', money: '$& $1' })).toBe(replaced)
  })
})
