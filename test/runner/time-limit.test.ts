import { describe, expect, it } from 'vitest'
import { runningMs } from '#runner/executors/docker/running-time.ts'
import { createTaskRun } from '#runner/executors/task-run.ts'
import { enforceTimeLimit } from '#runner/executors/time-limit.ts'
import { createRecord } from './support/records.ts'

const never = new AbortController().signal

it('a time limit goes on where the execution is, and does not begin anew', async () => {
  const state = { save: () => Promise.resolve(), saveSoon: () => undefined }
  const record = createRecord('running', { timeLimitSeconds: 3600 })
  const run = createTaskRun(record, { state, closing: never }, () => undefined)
  await enforceTimeLimit(run, { runningMs: () => Promise.resolve(3600 * 1000) }, { state }, never)
  expect([record.isTimedOut, run.ending.aborted]).toEqual([true, true])
})

describe('how long something in a container has been running', () => {
  const started = new Date(Date.now() - 3600 * 1000).toISOString()
  const own = { id: '/', pid: process.pid }

  it('is counted by the kernel where its process is seen', () => {
    const age = runningMs({ ...own, started })
    expect(age).toBeGreaterThan(0)
    expect(age).toBeLessThan(3600 * 1000)
    expect(runningMs({ ...own, pid: process.ppid, started })).toBeGreaterThanOrEqual(age)
  })

  it('goes by the clock of the day where it is another process, or none', () => {
    expect(runningMs({ id: 'another', pid: process.pid, started })).toBeGreaterThanOrEqual(3600 * 1000)
    expect(runningMs({ ...own, pid: 0, started })).toBeGreaterThanOrEqual(3600 * 1000)
    expect(runningMs({ ...own, pid: 0, started: null })).toBe(0)
  })
})
