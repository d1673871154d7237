import { beforeEach, describe, expect, it } from 'vitest'
import { HakuError } from '#core/errors.ts'
import { createChoices } from '#server/environments/choices.ts'

/** What the storage and the marks say at the moment. */
const world = { newest: 10, stamp: 'a' as string | undefined, revision: 0, isMissing: false }
let looks: number
let stamps: number
/** What happens while it is looked. */
let during: () => void

function create() {
  return createChoices({
    tarballs: {
      stamp: () => {
        stamps += 1
        return Promise.resolve(world.stamp)
      },
    },
    marks: { revision: () => world.revision },
    async look(environment, version) {
      looks += 1
      if (world.isMissing) throw new HakuError('environment.no_version', 'There is none.')
      const found = version ?? world.newest
      await Promise.resolve()
      during()
      return { entry: { environment, version: found, fileName: `${environment}-${found}.tar`, size: 1 }, details: found }
    },
  })
}

beforeEach(() => {
  Object.assign(world, { newest: 10, stamp: 'a', revision: 0, isMissing: false })
  looks = 0
  stamps = 0
  during = () => undefined
})

describe('what was chosen', () => {
  it('stands for as long as nothing changes', async () => {
    const choices = create()
    expect((await choices.find('env', undefined)).details).toBe(10)
    looks = 0
    for (let round = 0; round < 5; round += 1) expect((await choices.find('env', undefined)).details).toBe(10)
    expect(looks).toBe(0)
    expect((await choices.find('env', 9)).details).toBe(9)
  })

  it.each<[string, () => void]>([
    ['the storage changes', () => Object.assign(world, { newest: 11, stamp: 'b' })],
    ['a mark changes', () => Object.assign(world, { newest: 11, revision: 1 })],
    ['the storage can not tell any more', () => Object.assign(world, { newest: 11, stamp: undefined })],
  ])('is looked for again when %s', async (_, change) => {
    const choices = create()
    await choices.find('env', undefined)
    change()
    expect((await choices.find('env', undefined)).details).toBe(11)
  })

  it('is remembered only if the same is found after the stamp was taken', async () => {
    const choices = create()
    during = () => {
      world.newest = 11
      during = () => undefined
    }
    expect((await choices.find('env', undefined)).details).toBe(10)
    expect((await choices.find('env', undefined)).details).toBe(11)
  })

  it('is not remembered over a failure, nor a failure itself', async () => {
    const choices = create()
    await choices.find('env', undefined)
    Object.assign(world, { isMissing: true, stamp: 'b' })
    await expect(choices.find('env', undefined)).rejects.toMatchObject({ code: 'environment.no_version' })
    Object.assign(world, { isMissing: false, newest: 12 })
    expect((await choices.find('env', undefined)).details).toBe(12)
  })

  it('is one look for all who come during another, begun after they came', async () => {
    const choices = create()
    await choices.find('env', undefined)
    stamps = 0
    const first = choices.find('env', undefined)
    const others = Array.from({ length: 20 }, () => choices.find('env', undefined))
    // Those who came know of this; the first need not.
    Object.assign(world, { newest: 11, stamp: 'b' })
    await first
    expect((await Promise.all(others)).map(({ details }) => details)).toEqual(Array.from({ length: 20 }, () => 11))
    expect(stamps).toBeLessThanOrEqual(5)
  })
})
