import { expect, it } from 'vitest'
import { parseMemoryAvailable } from '#runner/hardware/usage.ts'

it('reads the memory that programs can get', () => {
  expect(parseMemoryAvailable('MemTotal:  100 kB\nMemFree:   10 kB\nMemAvailable:   20 kB\n')).toBe(20 * 1024)
  expect(parseMemoryAvailable('MemTotal:  100 kB\n')).toBeUndefined()
})
