import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TaskOrder } from '#core/api/schemas.ts'
import { createTaskRun } from '#runner/executors/task-run.ts'
import { readJson } from '#runner/keeping/files.ts'
import { identify, isAlive, type ProcessId, readBootId, readStatus } from '#runner/linux/proc.ts'
import { openScope } from '#runner/processes/scope/scope.ts'
import { watchDirectory } from '#runner/linux/watch.ts'
import { createPlainNode, machineCgroups, noCgroups, type PlainNode } from './support/plain-node.ts'
import { createRecord } from './support/records.ts'

const isRoot = process.getuid?.() === 0
if (!isRoot) console.log('tests of full disks are skipped: only root makes a small one')

/** Prints numbers until it finds the file, and ends with exit code 7. */
const COUNT = 'i=0; while [ ! -e "$0" ]; do echo $i; i=$((i+1)); sleep 0.002; done; echo end; exit 7'

describe.each([
  ['the cgroups of this machine', machineCgroups],
  ['no cgroups', noCgroups],
] as const)('recovery of plain processes with %s', (_, setupOf) => {
  let node: PlainNode
  let stopFile: string

  beforeEach(async () => {
    node = await createPlainNode(setupOf)
    stopFile = join(node.root, 'stop')
  })
  afterEach(() => node?.remove())

  const startCounting = async () => {
    const order = await node.start(['sh', '-c', COUNT, stopFile])
    await node.untilPrinted(order, '\n9\n')
    return order
  }
  const supervisorOf = (order: TaskOrder, generation = 1) => readJson<ProcessId>(node.files(order).claim(generation)) as ProcessId
  const killSupervisor = async (order: TaskOrder, generation = 1) => {
    const id = supervisorOf(order, generation)
    process.kill(id.pid, 'SIGKILL')
    await untilGone(id)
  }
  const untilFile = async (file: string) => {
    const watch = watchDirectory(dirname(file), [])
    while (!(await stat(file).then(() => true, () => false))) await watch.next(AbortSignal.timeout(30_000))
    watch.close()
  }
  /** Nobody tells of the end of a process that is nobody's child; the watch looks again by itself. */
  const untilGone = async (id: ProcessId) => {
    const watch = watchDirectory(node.root, ['gone'])
    while (isAlive(id)) await watch.next(AbortSignal.timeout(30_000))
    watch.close()
  }
  const isCounted = (output: string) => {
    const lines = output.split('\n').slice(0, -1)
    return lines.at(-1) === 'end' && lines.slice(0, -1).every((line, index) => line === String(index))
  }

  it('goes on with a process after a restart of the Runner', async () => {
    const order = await startCounting()
    const pid = node.pid(order)
    for (let restart = 0; restart < 3; restart++) {
      await node.stop()
      await node.startAgain()
      await node.until(order, 'running')
    }
    expect(node.pid(order)).toBe(pid)
    await writeFile(stopFile, '')
    expect(await node.untilFinal(order)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 7 })
    expect(await node.stdout(order)).toSatisfy(isCounted)
  })

  it('learns of an end that came while the Runner was away, and of its time', async () => {
    const order = await startCounting()
    await node.stop()
    // As an upgrade: what the supervisor was started from is not there any more.
    await copyFile(node.services.supervisor, join(node.root, 'next.cjs'))
    await rm(node.services.supervisor)
    await writeFile(stopFile, '')
    await untilFile(node.files(order).ended)
    const ended = readJson<{ finished: string }>(node.files(order).ended)
    await node.startAgain()
    const report = await node.untilFinal(order)
    expect(report).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 7, finished: ended?.finished })
    expect(await node.stdout(order)).toSatisfy(isCounted)
  })

  it('keeps a process paused over a restart', async () => {
    const order = await startCounting()
    await node.tasks.pause(order)
    await node.stop()
    await node.startAgain()
    await node.until(order, 'paused')
    await node.tasks.resume(order)
    await writeFile(stopFile, '')
    expect(await node.untilFinal(order)).toMatchObject({ exitCode: 7 })
    expect(await node.stdout(order)).toSatisfy(isCounted)
  })

  it('goes on with a process whose supervisor was killed, and says that its exit code is lost', async () => {
    const order = await startCounting()
    const pid = node.pid(order)
    await killSupervisor(order)
    await untilFile(node.files(order).claim(2))
    await node.untilPrinted(order, `\n${(await node.stdout(order)).split('\n').length + 50}\n`)
    expect(node.pid(order)).toBe(pid)
    await killSupervisor(order, 2)
    await untilFile(node.files(order).claim(3))
    await writeFile(stopFile, '')
    const report = await node.untilFinal(order)
    expect(report).toMatchObject({ state: 'failed', reason: 'node_forgot', exitCode: null })
    expect(report.message).toMatch(/nobody knows its exit code/)
    expect(await node.stdout(order)).toContain('\nend\n')
  })

  it('loses nothing that a process printed while nobody supervised it', async () => {
    const order = await node.start(['sh', '-c', `while [ ! -e ${stopFile}.1 ]; do sleep 0.01; done; head -c 300000 /dev/zero; while [ ! -e ${stopFile} ]; do sleep 0.01; done`])
    await node.stop()
    await killSupervisor(order)
    await writeFile(`${stopFile}.1`, '')
    await node.startAgain()
    await untilFile(node.files(order).claim(2))
    await writeFile(stopFile, '')
    expect(await node.untilFinal(order)).toMatchObject({ state: 'failed', stdoutBytes: 300_000 })
  })

  it('ends a process whose supervisor was killed', async () => {
    const order = await startCounting()
    const pid = node.pid(order)
    await killSupervisor(order)
    await node.tasks.kill(order)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'killed', exitCode: null })
    expect(readStatus(pid)?.isZombie ?? true).toBe(true)
  })

  it('says so when the machine was started again', async () => {
    const order = await startCounting()
    await node.stop()
    const file = node.files(order).claim(1)
    await writeFile(file, JSON.stringify({ ...supervisorOf(order), bootId: 'another' }))
    await node.startAgain()
    expect(await node.untilFinal(order)).toMatchObject({ state: 'failed', reason: 'node_forgot', message: 'The node was started again while the task ran.' })
  })

  it('starts a process once, however many supervisors come for it', async () => {
    const order = await startCounting()
    const others = Array.from({ length: 3 }, () => spawn(process.execPath, [node.services.supervisor, node.files(order).directory, '1']))
    expect(await Promise.all(others.map(async (child) => (await once(child, 'exit'))[0] as number))).toEqual([0, 0, 0])
    await writeFile(stopFile, '')
    await node.untilFinal(order)
    expect(await node.stdout(order)).toSatisfy(isCounted)
  })

  it('begins anew where a crash left no order, and never where a supervisor had begun', async () => {
    const begun = createRecord('starting', { image: null, command: ['touch', stopFile] })
    const run = createTaskRun({ ...begun, handle: null }, node.services, () => undefined)
    await mkdir(node.files(run.record.order).directory, { recursive: true })
    await writeFile(`${node.files(run.record.order).order}.tmp`, 'half')
    expect(await node.executor.find(run)).toBeUndefined()
    expect(await node.executor.create(run)).toMatchObject({ status: 'created' })
    expect(await node.executor.create(run)).toMatchObject({ status: 'created' })
    const gone = spawn('true')
    const id = identify(gone.pid ?? 0)
    await once(gone, 'exit')
    await writeFile(node.files(run.record.order).claim(1), JSON.stringify(id))
    await node.executor.find(run)
    expect(await node.executor.wait(run)).toMatchObject({ exitCode: null, message: expect.stringContaining('while it started the process') })
    await expect(stat(stopFile)).rejects.toThrow(/ENOENT/)
    await node.executor.remove(run.record)
  })

  it('fails a task whose supervisor can not be started, and lets none come late', async () => {
    await writeFile(node.services.supervisor, 'console.error("no memory"); process.exit(3)')
    const report = await node.run(['touch', stopFile])
    expect(report).toMatchObject({ state: 'failed', reason: 'start_failed' })
    expect(report.message).toContain('no memory')
    expect(supervisorOf(report as unknown as TaskOrder).pid).toBe(process.pid)
  })

  it('takes no other process for one with its number', () => {
    const mine = identify(process.pid) as ProcessId
    expect(isAlive(mine)).toBe(true)
    expect(isAlive({ ...mine, startTime: mine.startTime - 1 })).toBe(false)
    expect(isAlive({ ...mine, bootId: 'another' })).toBe(false)
    const scope = openScope({ kind: 'group', marks: ['HAKURIVER_TASK_ID=nobody'] }, { pid: process.pid, startTime: 1, bootId: readBootId() })
    expect(scope.pids()).toEqual([])
  })
})

describe.skipIf(!isRoot)('plain processes and full disks', () => {
  let node: PlainNode
  let disk = ''

  const mount = async (...parameters: string[]) => {
    const child = spawn('mount', parameters, { stdio: 'inherit' })
    expect(await once(child, 'exit')).toEqual([0, null])
  }
  const makeSmallDisk = async (directory: string, size: string) => {
    await mkdir(directory, { recursive: true })
    await mount('-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory)
    disk = directory
  }

  beforeEach(async () => {
    node = await createPlainNode(machineCgroups)
  })
  afterEach(async () => {
    await node?.stop()
    // A supervisor that has told its end may not be gone yet.
    await once(spawn('umount', ['-l', disk]), 'exit')
    await node?.startAgain()
    await node?.remove()
  })

  it('keep the output on the node while the shared directory is full', async () => {
    await makeSmallDisk(dirname(node.paths.stdout('x', 1)), '1m')
    const order = await node.start(['head', '-c', '3000000', '/dev/zero'])
    await node.untilTold(order, /shared directory is full.*Nothing is lost/)
    await mount('-o', 'remount,size=16m', disk)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'succeeded', stdoutBytes: 3_000_000 })
    expect((await readFile(node.paths.stdout(order.id, 1))).equals(Buffer.alloc(3_000_000))).toBe(true)
    await rm(node.paths.stdout(order.id, 1))
  })

  it('wait with their output while the disk of the node is full, and say so', async () => {
    await makeSmallDisk(dirname(node.files({ id: 'x', instance: 1 }).directory), '2m')
    const order = await node.start(['head', '-c', '3000000', '/dev/zero'])
    await node.untilTold(order, /disk of paths\.state_dir is full/)
    await mount('-o', 'remount,size=16m', disk)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'succeeded', message: null, stdoutBytes: 3_000_000 })
    await node.executor.remove(node.state.find(order) as Parameters<PlainNode['executor']['remove']>[0])
  })
})
