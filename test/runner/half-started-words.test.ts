import { describe, expect, it } from 'vitest'
import { HakuError } from '#core/errors.ts'
import { isHalfStarted } from '#runner/executors/docker/half-started.ts'

describe('a start that an Engine has forgotten', () => {
  it.each([
    ['task 50e7: already exists', true],
    ['task 50e7 already exists', true],
    ['id already in use', true],
    ['failed to start shim: mkdir /run/daemon/moby/1160: file exists: unknown', true],
    ['OCI runtime create failed: mkdir /x: file exists: unknown', false],
    ['driver failed programming external connectivity: port is already allocated', false],
  ])('is told by its words: %s', (words, expected) => {
    expect(isHalfStarted(new HakuError('engine.failed', `Could not start the container "c". The Docker Engine says: ${words}`))).toBe(expected)
  })
})
