import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import Database from 'libsql'
import { openRunnerState } from '#runner/state/state.ts'
import { createRecord } from './support/records.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hakuriver-runner-parts-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

describe('state', () => {
  it('keeps what was saved, written soon or removed, over a restart', async () => {
    const file = join(root, 'runner.db')
    const first = await openRunnerState(file)
    const [saved, soon, removed] = [createRecord('succeeded'), createRecord('failed'), createRecord()]
    await Promise.all([first.save(saved), first.save(removed)])
    first.saveSoon(soon)
    first.remove(removed.order)
    const image = { environment: 'env', version: 1, imageId: 'a', lastUsed: '2026-01-01T00:00:00.000Z', size: 5, layers: [{ digest: 'x', size: 5 }], isAwaited: true }
    await first.saveImage(image)
    await first.saveImage({ ...image, imageId: 'b' })
    first.useImage(image)
    await first.close()
    const second = await openRunnerState(file)
    expect(second.list().map(({ order }) => order.id).toSorted()).toEqual([saved.order.id, soon.order.id].toSorted())
    expect(second.find(saved.order)).toEqual(saved)
    const [found] = second.listImages()
    expect(found).toEqual({ ...image, imageId: 'b', lastUsed: found?.lastUsed, isAwaited: false })
    expect(found?.lastUsed.localeCompare(image.lastUsed)).toBe(1)
    await second.close()
  })

  it('never reports a sequence of an unfinished task twice', async () => {
    const file = join(root, 'runner.db')
    const first = await openRunnerState(file)
    const record = createRecord()
    await first.save(record)
    await first.close()
    // None of these has the time to write what it was told.
    const sequences: number[] = []
    const crashed = []
    for (let start = 0; start < 3; start += 1) {
      const state = await openRunnerState(file)
      sequences.push(state.find(record.order)?.report.sequence ?? 0)
      crashed.push(state)
    }
    const [second = 0, third = 0, fourth = 0] = sequences
    expect(second).toBeGreaterThan(500)
    expect(third - second).toBeGreaterThan(500)
    expect(fourth - third).toBeGreaterThan(500)
    for (const state of crashed) await state.close()
  })

  it('knows the executions of a task, and those that are not over', async () => {
    const state = await openRunnerState(join(root, 'runner.db'))
    const first = createRecord('failed')
    const { id } = first.order
    const second = createRecord('running', { id, instance: 2 })
    await Promise.all([state.save(first), state.save(second), state.save(createRecord())])
    expect(state.find({ id, instance: 2 })).toBe(second)
    expect(state.find({ id, instance: 3 })).toBeUndefined()
    expect(state.ofTask(id)).toEqual([first, second])
    first.released = '2026-01-01T00:00:00.000Z'
    await state.save(first)
    expect(state.listActive()).not.toContain(first)
    expect(state.listActive()).toContain(second)
    state.remove(first.order)
    expect(state.ofTask(id)).toEqual([second])
    await state.close()
  })

  it('of a Runner from before executions were counted is taken over', async () => {
    const file = join(root, 'runner.db')
    await (await openRunnerState(file)).close()
    const old = new Database(file)
    old.exec(`DROP TABLE executions; DELETE FROM kysely_migration WHERE name = '0003_executions';
      CREATE TABLE tasks (id text primary key, task_order text not null, report text not null, acknowledged integer not null, wish text not null, container_id text, released text)`)
    const order = { id: '01jd0000000000000000000000', environment: 'env', version: 7, fileName: 'env-7.tar', configDigest: 'sha256:a', manifestDigest: null, command: ['true'], env: { A: 'b' }, mounts: [], cores: 2, memoryBytes: null, network: 'host', privileged: false }
    const report = { id: order.id, sequence: 3, state: 'running', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null }
    old.prepare('INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?)').run(order.id, JSON.stringify(order), JSON.stringify(report), 2, 'run', 'c9', null)
    old.close()
    const state = await openRunnerState(file)
    const { image, ...rest } = createRecord('running', { id: order.id, command: ['true'], env: { A: 'b' }, cores: 2, network: 'host' }).order
    expect(state.find({ id: order.id, instance: 1 })).toEqual({
      order: { ...rest, image: { ...image, environment: 'env', version: 7, fileName: 'env-7.tar', configDigest: 'sha256:a' } },
      report: { ...report, instance: 1, sequence: 1003 },
      acknowledged: 2, wish: 'run', isTimedOut: false, handle: 'c9', cpus: null, released: null,
    })
    await state.close()
  })
})
