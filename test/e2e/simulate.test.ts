import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Simulation } from '#simulator/run/simulate.ts'
import { usePrograms } from '#test/cli/support/programs.ts'

const programs = usePrograms()
// The simulator and the Host are those of the build: the programs beside them are.
const program = new URL('../../dist/bin/hakuriver', import.meta.url).pathname
let directory: string
let temporary: string

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-simulate-test-'))
  temporary = join(directory, 'tmp')
  mkdirSync(temporary)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const env = () => ({ TMPDIR: temporary })
const left = () => readdirSync(temporary).filter((name) => name.startsWith('hakuriver-'))

async function simulate(args: string[]): Promise<Simulation> {
  const { code, stdout, stderr } = await programs.run(program, ['simulate', '--json', ...args], { env: env() })
  const simulation = JSON.parse(stdout || '{}') as Simulation
  expect(code, `${stderr}\n${JSON.stringify(simulation.checks, null, 2)}`).toBe(0)
  return simulation
}

describe('hakuriver simulate', () => {
  it('runs an array through a real Host, and finds each item ended once and as it really did', async () => {
    const simulation = await simulate(['--nodes', '20', '--tasks', '400', '--cores', '4', '--milliseconds', '40', '--failures', '20'])
    expect(simulation.checks.map(({ passed }) => passed)).toEqual(Array.from({ length: 7 }, () => true))
    expect(simulation).toMatchObject({ nodes: 20, tasks: 400, counters: { starts: 400, ends: 400, acknowledged: 400, duplicates: 0, overlaps: 0, disowned: 0 } })
    expect(simulation.latencies.list.calls).toBeGreaterThan(0)
    expect(left()).toEqual([])
  })

  it('submits one by one if asked to', async () => {
    const simulation = await simulate(['--nodes', '5', '--tasks', '100', '--milliseconds', '0', '--singles', '--clients', '4'])
    expect(simulation.checks.every(({ passed }) => passed)).toBe(true)
    expect(simulation.counters).toMatchObject({ starts: 100, duplicates: 0 })
  })

  it('prints a table for people', async () => {
    const { code, stdout, stderr } = await programs.run(program, ['simulate', '--nodes', '2', '--tasks', '10', '--milliseconds', '0'], { env: env() })
    expect([code, stderr]).toEqual([0, expect.stringContaining('registering 2 nodes')])
    expect(stdout).toMatch(/^end to end +\d+\.\d s, \d+ tasks\/s$/m)
    expect(stdout).not.toContain('FAILED')
  })

  it.each([['SIGINT', 130], ['SIGTERM', 143]] as const)('ends everything that it has started when it gets %s', async (signal, code) => {
    const running = programs.start(program, ['simulate', '--nodes', '5', '--tasks', '100', '--milliseconds', '600000'], { env: env() })
    await running.seen('stderr', 'waiting for their ends')
    expect(left()).toHaveLength(1)
    running.child.kill(signal)
    expect(await running.finished).toMatchObject({ code, stdout: '' })
    expect(left()).toEqual([])
  })

  it('refuses what it can not do before anything is started', async () => {
    expect(await programs.run(program, ['simulate', '--nodes', '0'], { env: env() })).toMatchObject({ code: 2, stdout: '' })
  })
})
