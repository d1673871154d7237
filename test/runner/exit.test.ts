import { describe, expect, it } from 'vitest'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { waitForExit } from '#runner/executors/docker/exit.ts'

/** An Engine that goes away so often before it tells the exit code. */
function engineAway(times: number, exitCode: number): Pick<Engine, 'waitContainer'> {
  let left = times
  return {
    async waitContainer() {
      if (left-- > 0) throw new HakuError('engine.unavailable', 'The Docker Engine is away.')
      return exitCode
    },
  }
}

describe('the end of a container', () => {
  it.each([
    { times: 0, exitCode: 255, interrupted: false, note: undefined },
    { times: 1, exitCode: 3, interrupted: true, note: undefined },
    { times: 1, exitCode: 255, interrupted: true, note: expect.stringContaining('missed the true exit code') as string },
  ])('is told with a doubt where the Engine may have missed it: %o', async ({ times, exitCode, interrupted, note }) => {
    const told: (string | null)[] = []
    const run = { tell: (message: string | null) => void told.push(message) }
    const exit = await waitForExit(run, { engine: engineAway(times, exitCode), closing: new AbortController().signal }, 'id')
    expect(exit).toEqual({ exitCode, interrupted, note })
    expect(told).toEqual(interrupted ? ['The Docker Engine is away.', null] : [])
  })
})
