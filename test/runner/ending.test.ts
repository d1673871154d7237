import { describe, expect, it } from 'vitest'
import { classifyStartFailure } from '#runner/executors/docker/start-container.ts'
import { judgeEnd } from '#runner/executors/ending.ts'
import { createRecord } from './support/records.ts'

describe('the end of a task', () => {
  const facts = { exitCode: 1, outOfMemory: false, commandFailure: undefined, lost: undefined }
  it.each([
    [{ exitCode: 0 }, { state: 'succeeded', reason: null }],
    [{}, { state: 'failed', reason: 'exited' }],
    [{ exitCode: 137, outOfMemory: true }, { state: 'out_of_memory', reason: 'memory_limit' }],
    [{ exitCode: undefined }, { state: 'failed', reason: 'node_forgot' }],
    [{ exitCode: 143, wanted: { wish: 'kill' } }, { state: 'killed', reason: 'user', exitCode: 143 }],
    [{ exitCode: undefined, wanted: { wish: 'kill' } }, { state: 'killed', reason: 'user', exitCode: null }],
    [{ exitCode: 127, commandFailure: 'exec x failed: No such file' }, { state: 'failed', reason: 'command_not_found', exitCode: 127 }],
    [{ exitCode: 1, commandFailure: 'it is too long' }, { state: 'failed', reason: 'command_not_found', exitCode: 126 }],
    [{ exitCode: 139 }, { message: expect.stringContaining('signal 11') }],
    [{ exitCode: 0, lost: 'the disk is full' }, { state: 'succeeded', message: expect.stringContaining('the disk is full') }],
    [{ exitCode: 0, wanted: { isTimedOut: true } }, { state: 'timed_out', reason: 'time_limit', exitCode: 0 }],
    [{ exitCode: 137, outOfMemory: true, wanted: { wish: 'kill' } }, { state: 'killed' }],
  ] as const)('%o means %o', (change, ending) => {
    const { wanted, ...changed } = { wanted: {}, ...change }
    expect(judgeEnd({ ...facts, ...changed, record: { ...createRecord(), ...wanted } })).toMatchObject(ending)
  })

  it.each([
    ['OCI runtime create failed: exec: "nope": executable file not found in $PATH: unknown', 'command_not_found', 127],
    ['exec: "/etc": permission denied: unknown', 'command_not_found', 126],
    ['exec /x: exec format error', 'command_not_found', 126],
    ['crun: exec failed: Argument list too long: OCI runtime error', 'command_not_found', 126],
    ['network nowhere not found', 'start_failed', null],
  ])('the Engine saying %s is told apart', (words, reason, exitCode) => {
    expect(classifyStartFailure(words)).toEqual({ reason, exitCode })
  })
})
