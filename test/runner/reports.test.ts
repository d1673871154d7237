import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TaskReport } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { createTaskRun } from '#runner/executors/task-run.ts'
import { createLink } from '#runner/host/link.ts'
import { createRecord } from './support/records.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'

describe('reports', () => {
  const hostname = 'node-1'
  let directory: string
  let host: StubHost
  let closing: AbortController
  let running: Promise<void>

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-reports-test-'))
    host = await startStubHost()
    writeFileSync(join(directory, 'token'), host.token)
    closing = new AbortController()
    running = Promise.resolve()
  })
  afterEach(async () => {
    closing.abort(new Error('the test is over'))
    await running
    await host.stop()
    rmSync(directory, { recursive: true })
  })

  /** A Runner's link with these reports to tell. */
  function tell(reports: TaskReport[]): { left(): TaskReport[]; refuseNoMore(): void } {
    let outbox = reports
    const drop = (executions: readonly { id: string; instance: number }[]) => {
      const keys = new Set(executions.map(executionKey))
      outbox = outbox.filter((report) => !keys.has(executionKey(report)))
    }
    const link = createLink({
      url: `http://127.0.0.1:${host.port}`,
      tokenFile: join(directory, 'token'),
      self: { hostname, instanceId: createId(), url: 'http://127.0.0.1:1', hostToken: 'x'.repeat(32), hardware: { cores: 1, memoryBytes: 1e9, numaNodes: [], gpus: [], plainProcesses: true }, runnerVersion: '1' },
      engineFacts: () => Promise.resolve(null),
      holdings: () => Promise.resolve(undefined),
      usage: () => ({ cpuPercent: null, memoryUsedBytes: null }),
      active: () => [],
      outbox: () => outbox,
      acknowledge: drop,
      disown: (execution) => drop([execution]),
      retell: () => undefined,
      onRegistered: () => undefined,
      closing: closing.signal,
    })
    running = link.run()
    return {
      left: () => outbox,
      refuseNoMore() {
        host.knobs.refuseReports = () => undefined
        host.knobs.isForgetful = true
      },
    }
  }

  const reportsOf = (count: number, change: Partial<TaskReport> = {}) => Array.from({ length: count }, () => ({ ...createRecord('failed').report, ...change }))

  it('go in bodies that the Host takes, however long their messages are', async () => {
    let largest = 0
    host.knobs.refuseReports = (reports) => {
      largest = Math.max(largest, JSON.stringify({ reports }).length)
      return undefined
    }
    const { left } = tell(reportsOf(140, { message: '"'.repeat(130_000) }))
    await host.until('all reports', () => host.reports.length === 140)
    await expect.poll(left).toEqual([])
    expect(largest).toBeLessThan(16 * 1024 ** 2)
  })

  it.each([
    ['is refused for its content', new HakuError('request.invalid', 'The body is not valid.')],
    ['is refused for its size', new HakuError('request.body_too_large', 'The body may have 1 byte at most.')],
  ])('reach the Host although one between them %s', async (_, refusal) => {
    const reports = reportsOf(50)
    const bad = reports[17] as TaskReport
    host.knobs.refuseReports = (some) => (some.some(({ id }) => id === bad.id) ? refusal : undefined)
    const { left, refuseNoMore } = tell(reports)
    await host.until('all others', () => host.reports.length === 49)
    await expect.poll(left).toEqual([bad])
    // A Host that starts again may take it.
    refuseNoMore()
    await host.until('the last one', () => host.reports.length === 50)
    await expect.poll(left).toEqual([])
  })

  it('have messages of a length that people read', () => {
    const record = createRecord('running')
    const run = createTaskRun(record, { state: { save: () => Promise.resolve(), saveSoon: () => undefined }, closing: closing.signal }, () => undefined)
    run.tell('x'.repeat(5000))
    expect(record.report).toMatchObject({ sequence: 6, message: `${'x'.repeat(4095)}…` })
    run.tell('x'.repeat(5000))
    expect(record.report.sequence).toBe(6)
    run.report({ state: 'failed', message: 'y'.repeat(4096) })
    expect(record.report.message).toBe('y'.repeat(4096))
  })
})
