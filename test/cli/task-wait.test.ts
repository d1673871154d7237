import { describe, expect, it } from 'vitest'
import { usePrograms } from './support/programs.ts'
import { batch, endedBatch, endedTask, itemOf, task } from './support/samples.ts'
import { startStubHost } from './support/stub-host.ts'
import { createTaskModel } from './support/task-model.ts'

const programs = usePrograms()
const SUBMIT = ['submit', '--container', 'my-env']

async function start(model: ReturnType<typeof createTaskModel>, ...argv: string[]) {
  const host = await startStubHost({ answers: model.answers })
  return { host, running: programs.start('hakuriver.task', argv, { env: host.env }) }
}

describe('submit --wait', () => {
  it('shows the output of a task as it comes, and ends as it does', async () => {
    const model = createTaskModel(task)
    const { running } = await start(model, ...SUBMIT, '--wait', '--', 'true')
    await running.seen('stderr', task.id)
    model.task(task.id).begin()
    model.task(task.id).print('stdout', 'caf\u00E9\n')
    await running.seen('stdout', 'caf')
    model.task(task.id).print('stderr', 'err')
    model.task(task.id).end(7)
    expect(await running.finished).toEqual({ code: 7, stdout: 'caf\uFFFD\n', stderr: `${task.id}\nerr\nhakuriver: task ${task.id} failed: The command ended with exit code 7.\n` })
  })

  it.each([
    [endedTask(0), 0, ''],
    [endedTask(7), 7, `hakuriver: task ${task.id} failed: The command ended with exit code 7.\n`],
    [endedTask(null, { state: 'lost', reason: 'node_unreachable', message: 'node1 was not heard of.' }), 1, `hakuriver: task ${task.id} is lost: node1 was not heard of.\n`],
    [endedTask(137, { state: 'out_of_memory', reason: 'memory_limit', message: null }), 137, `hakuriver: task ${task.id} ran out of memory.\n`],
    [endedTask(null, { state: 'killed', reason: 'user', message: 'evil\u001B[2J', instance: 0 }), 1, String.raw`hakuriver: task ${task.id} was killed: evil\u001b[2J` + '\n'],
  ])('of one that has ended already says how (%#)', async (ended, code, more) => {
    const { running } = await start(createTaskModel(ended), ...SUBMIT, '--wait', '--', 'true')
    expect(await running.finished).toEqual({ code, stdout: '', stderr: `${task.id}\n${more}` })
  })

  it('goes on with the next execution of one that is tried again', async () => {
    const model = createTaskModel(task)
    const { running } = await start(model, ...SUBMIT, '--wait', '--retry', '1', '--', 'true')
    const one = model.task(task.id)
    await running.seen('stderr', task.id)
    one.begin()
    one.print('stdout', 'first\n')
    await running.seen('stdout', 'first')
    one.set({ state: 'queued', message: 'Tried again soon.' })
    one.begin()
    one.print('stdout', 'second\n')
    one.end(0)
    expect(await running.finished).toEqual({ code: 0, stdout: 'first\nsecond\n', stderr: `${task.id}\nTask ${task.id} is tried again: this is execution 2.\n` })
  })

  it('--json prints the ended task and no output', async () => {
    const { running } = await start(createTaskModel(endedTask(4)), ...SUBMIT, '--wait', '--json', '--', 'true')
    const { code, stdout, stderr } = await running.finished
    expect({ code, stderr }).toEqual({ code: 4, stderr: '' })
    expect(JSON.parse(stdout)).toEqual({ ...endedTask(4), events: [] })
  })

  it('of several ends with the highest code', async () => {
    const tasks = ['a', 'b', 'c'].map((letter, index) => endedTask(index * 2, { id: `01${letter.repeat(24)}` }))
    const { running } = await start(createTaskModel(...tasks), ...SUBMIT, '--wait', '--', 'true')
    expect(await running.finished).toMatchObject({ code: 4, stdout: '' })
  })

  it.each(['destroy', 'end'] as const)('goes on where it was after a lost link (%s): no byte is lost or doubled', async (way) => {
    const whole = 'a line of output\n'.repeat(100)
    const offsets: number[] = []
    const model = createTaskModel(task)
    model.task(task.id).begin()
    const host = await startStubHost({
      answers: {
        ...model.answers,
        getTaskStdout({ query, response }) {
          const offset = Number(query.get('offset'))
          offsets.push(offset)
          response.writeHead(200)
          // A Host cuts what it can not send whole; a proxy may end it properly.
          if (offsets.length < 3) return void response.write(whole.slice(offset, offset + 333), () => setImmediate(() => void response[way]()))
          model.task(task.id).end(0)
          response.end(whole.slice(offset))
        },
      },
    })
    const { code, stdout } = await programs.run('hakuriver.task', [...SUBMIT, '--wait', '--', 'true'], { env: host.env })
    expect({ code, stdout }).toEqual({ code: 0, stdout: whole })
    expect(offsets).toEqual([0, 333, 666])
  })

  it('runs the command of --notify at the end, without a shell', async () => {
    const { running } = await start(createTaskModel(endedTask(3)), ...SUBMIT, '--wait', '--notify', `sh -c 'echo "$0 $1 $HAKURIVER_TASK_ID $HAKURIVER_TASK_STATE $HAKURIVER_TASK_EXIT_CODE"; exit 5' '$(id)' "a  b"`, '--', 'true')
    expect(await running.finished).toEqual({ code: 3, stdout: '', stderr: `${task.id}\n$(id) a  b ${task.id} failed 3\n--notify "sh" ended with 5.\nhakuriver: task ${task.id} failed: The command ended with exit code 3.\n` })
  })

  it('tells of a --notify command that there is not', async () => {
    const { running } = await start(createTaskModel(endedTask(0)), ...SUBMIT, '--wait', '--notify', '/no/such', '--', 'true')
    expect(await running.finished).toEqual({ code: 0, stdout: '', stderr: `${task.id}\n--notify "/no/such" could not be run: spawn /no/such ENOENT.\n` })
  })
})

it('says how to come back when the Host stays away', async () => {
  const { answers } = createTaskModel(task)
  let waits = () => {}
  const waiting = new Promise<void>((resolve) => {
    waits = resolve
  })
  const host = await startStubHost({ answers: { ...answers, getTask(request) {
    if (request.query.get('wait') !== null && request.query.get('wait') !== '0') waits()
    return answers.getTask?.(request)
  } } })
  const running = programs.start('hakuriver.task', ['wait', task.id], { env: host.env })
  await waiting
  host.stop()
  const { code, stderr } = await running.finished
  expect(code).toBe(5)
  expect(stderr).toMatch(/^Left the task alone\. Come back with .*\nhakuriver task: The Host at .* can not be reached/)
})

describe('of a batch', () => {
  it('--wait shows no output, and ends with the highest code', async () => {
    const model = createTaskModel(batch)
    const { running } = await start(model, ...SUBMIT, '--array', '1-3', '--wait', '--', 'true')
    await running.seen('stderr', batch.id)
    model.task(batch.id).set(endedBatch)
    expect(await running.finished).toEqual({ code: 2, stdout: '', stderr: `${batch.id}\nhakuriver: batch ${batch.id} failed: 1 of 3 items failed.\n` })
  })

  it('--follow shows the lines of all items as they come, each with its index', async () => {
    const model = createTaskModel(batch)
    const { running } = await start(model, ...SUBMIT, '--array', '1-3', '--follow', '--', 'true')
    await running.seen('stderr', batch.id)
    const [first, second, third] = [1, 2, 3].map((index) => model.add(itemOf(index)))
    for (const item of [first, second]) item?.begin()
    first?.print('stdout', 'one\ntw')
    second?.print('stdout', 'ONE\n')
    second?.print('stderr', 'oh\n')
    await running.seen('stdout', '1: one\n')
    await running.seen('stdout', '2: ONE\n')
    first?.print('stdout', 'o')
    first?.end(0)
    await running.seen('stdout', '1: two\n')
    third?.begin()
    third?.print('stdout', 'last\n')
    for (const item of [second, third]) item?.end(0)
    model.task(batch.id).set(endedBatch)
    const { code, stdout, stderr } = await running.finished
    expect(code).toBe(2)
    expect(stdout.split('\n').toSorted()).toEqual(['', '1: one', '1: two', '2: ONE', '3: last'])
    expect(stderr).toContain('2: oh\n')
  })
})

describe('task wait', () => {
  const ids = ['a', 'b', 'c'].map((letter) => `01${letter.repeat(24)}`)
  const [a = '', b = '', c = ''] = ids

  it('waits for all, prints each as it ends, and ends with the highest code', async () => {
    const model = createTaskModel(...ids.map((id) => ({ ...task, id })))
    const { running } = await start(model, 'wait', ...ids)
    model.task(c).end(0)
    await running.seen('stdout', `${c} succeeded\n`)
    model.task(a).end(9)
    await running.seen('stdout', `${a} failed\n`)
    model.task(b).end(1)
    expect(await running.finished).toEqual({ code: 9, stdout: `${c} succeeded\n${a} failed\n${b} failed\n`, stderr: `hakuriver: task ${a} failed: The command ended with exit code 9.\nhakuriver: task ${b} failed: The command ended with exit code 1.\n` })
  })

  it('--any waits for the first', async () => {
    const model = createTaskModel(...ids.map((id) => ({ ...task, id })))
    const { running } = await start(model, 'wait', '--any', ...ids)
    model.task(b).end(4)
    expect(await running.finished).toEqual({ code: 4, stdout: `${b} failed\n`, stderr: `hakuriver: task ${b} failed: The command ended with exit code 4.\n` })
  })

  it('waits for those that there are, and tells of the others', async () => {
    const { running } = await start(createTaskModel(endedTask(0)), 'wait', 'nobody', task.id)
    expect(await running.finished).toEqual({ code: 3, stdout: `${task.id} succeeded\n`, stderr: 'hakuriver task: There is no task nobody.\n' })
  })

  it('tells how far the load of a version is', async () => {
    const model = createTaskModel({ ...task, state: 'syncing', node: 'node1', sync: { bytes: 12e6, totalBytes: 800e6, bytesPerSecond: 100e6 } })
    const { running } = await start(model, 'wait', task.id)
    await running.seen('stderr', 'syncing')
    model.task(task.id).end(0, { sync: null })
    expect(await running.finished).toEqual({ code: 0, stdout: `${task.id} succeeded\n`, stderr: 'syncing  800 MB\n' })
  })
})
