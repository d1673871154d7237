import { EventEmitter, once } from 'node:events'
import { expect, it } from 'vitest'
import { createTurns } from '#server/turns.ts'

/** Work that ends when it is told to. */
function createWork(log: string[], name: string) {
  const events = new EventEmitter()
  const ended = once(events, 'end').then(() => name)
  return {
    work: () => {
      log.push(name)
      return ended
    },
    end: () => events.emit('end'),
    fail: () => events.emit('error', new Error(name)),
  }
}

it('one at a time for each key, in the order in which they came', async () => {
  const turns = createTurns()
  const log: string[] = []
  const [first, second, other] = [createWork(log, 'first'), createWork(log, 'second'), createWork(log, 'other')]
  const results = [turns.take('a', first.work), turns.take('a', second.work), turns.take('b', other.work)]
  expect(log).toEqual(['first', 'other'])
  second.end()
  other.end()
  await results[2]
  expect(log).toEqual(['first', 'other'])
  first.end()
  expect(await Promise.all(results)).toEqual(['first', 'second', 'other'])
  expect(log).toEqual(['first', 'other', 'second'])
})

it('that one fails is told to whoever took that turn, and to nobody else', async () => {
  const turns = createTurns()
  const log: string[] = []
  const [first, second] = [createWork(log, 'first'), createWork(log, 'second')]
  const results = [turns.take('a', first.work), turns.take('a', second.work)]
  first.fail()
  second.end()
  await expect(results[0]).rejects.toThrow('first')
  expect(await results[1]).toBe('second')
})
