import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { HakuError } from '#core/errors.ts'
import { createUntilWritten, type UntilWritten } from '#server/queue/until-written.ts'

let untilWritten: UntilWritten
beforeEach(() => {
  vi.spyOn(console, 'error').mockReturnValue(undefined)
  untilWritten = createUntilWritten()
})
afterEach(() => {
  untilWritten.close()
  vi.restoreAllMocks()
})

/** Work that fails so, as often, and then succeeds. */
function failing(times: number, error: Error) {
  let tries = 0
  return vi.fn<() => Promise<void>>(() => (++tries > times ? Promise.resolve() : Promise.reject(error)))
}

describe('what must be written', () => {
  it('is tried again until it succeeds, and told once', async () => {
    const work = failing(2, new Error('database or disk is full'))
    await untilWritten.run('that a is lost could not be stored', work)
    expect(work).toHaveBeenCalledTimes(3)
    expect(vi.mocked(console.error).mock.calls).toEqual([['[hakuriver] [queue] that a is lost could not be stored, and is tried again until it is: database or disk is full']])
  })

  it.each([
    ['would come out the same', new HakuError('task.not_found', 'There is no such task.'), 1],
    ['comes while the Host stops', new HakuError('host.stopping', 'The Host is stopping.'), 0],
  ])('is given up where it %s', async (_, error, told) => {
    const work = failing(1, error)
    await untilWritten.run('x', work)
    expect(work).toHaveBeenCalledTimes(1)
    expect(console.error).toHaveBeenCalledTimes(told)
  })

  it('is left when the Host closes', async () => {
    const work = failing(Infinity, new Error('full'))
    const running = untilWritten.run('x', work)
    untilWritten.close()
    await running
    expect(work).toHaveBeenCalledTimes(1)
  })
})
