import { describe, expect, it } from 'vitest'
import { HakuError } from '#core/errors.ts'
import { usePrograms } from './support/programs.ts'
import { batch, endedBatch, endedTask, itemOf, task } from './support/samples.ts'
import { startStubHost, type StubRequest } from './support/stub-host.ts'
import { createTaskModel } from './support/task-model.ts'

const programs = usePrograms()

async function start(model: ReturnType<typeof createTaskModel>, ...argv: string[]) {
  const host = await startStubHost({ answers: model.answers })
  return programs.start('hakuriver.task', argv, { env: host.env })
}

function printed(...lines: [stream: 'stdout' | 'stderr', text: string][]) {
  const model = createTaskModel(endedTask(0))
  for (const [stream, text] of lines) model.task(task.id).print(stream, text)
  return model
}

describe('what a task printed', () => {
  it('is bytes, untouched', async () => {
    const text = Buffer.from(Array.from({ length: 256 }, (_, index) => index)).toString('latin1')
    const running = await start(printed(['stdout', text]), 'stdout', task.id)
    running.child.stdout.removeAllListeners('data').setEncoding('latin1')
    let seen = ''
    running.child.stdout.on('data', (chunk: string) => (seen += chunk))
    expect((await running.finished).code).toBe(0)
    expect(seen).toBe(text)
  })

  it('logs keep the two apart; stderr alone goes to standard output', async () => {
    const model = () => printed(['stdout', 'out\n'], ['stderr', 'err\n'])
    expect(await (await start(model(), 'logs', task.id)).finished).toEqual({ code: 0, stdout: 'out\n', stderr: 'err\n' })
    expect(await (await start(model(), 'stderr', task.id)).finished).toEqual({ code: 0, stdout: 'err\n', stderr: '' })
  })

  it.each([
    [['--tail', '2'], '2\n3\n'],
    [['-n', '0'], ''],
    [['--since-byte', '3'], '\n3\n'],
    [['--tail', '1', '--follow'], '3\n'],
  ])('%j', async (options, stdout) => {
    expect(await (await start(printed(['stdout', '1\n2\n3\n']), 'stdout', task.id, ...options)).finished).toEqual({ code: 0, stdout, stderr: '' })
  })

  it.each([
    [['--tail', 'all'], '--tail "all" is not a whole number from 0 to 1000000'],
    [['--since-byte', '-1'], '--since-byte "-1" is not the number of a byte, counted from 0.'],
    [['--since-byte', 'x'], '--since-byte "x" is not the number of a byte'],
    [['--instance', '0'], '--instance "0" is not a whole number from 1'],
    [['--tail', '1', '--since-byte', '1'], '--tail and --since-byte can not be given together'],
  ])('%j is a mistake of usage', async (options, message) => {
    const { code, stderr } = await programs.run('hakuriver.task', ['logs', 'x', ...options])
    expect(code).toBe(2)
    expect(stderr).toContain(message)
  })

  it('of an earlier execution, which says nothing of the end', async () => {
    const model = createTaskModel(task)
    const one = model.task(task.id)
    one.begin()
    one.print('stdout', 'first')
    one.begin()
    one.print('stdout', 'second')
    one.end(3)
    expect(await (await start(model, 'logs', task.id, '--instance', '1')).finished).toMatchObject({ code: 0, stdout: 'first' })
    expect(await (await start(model, 'logs', task.id, '--instance', '1', '--follow')).finished).toMatchObject({ code: 0, stdout: 'first' })
    expect(await (await start(model, 'logs', task.id, '--follow')).finished).toMatchObject({ code: 3, stdout: 'second' })
  })

  it('of one that nobody knows ends with 3', async () => {
    expect(await (await start(createTaskModel(), 'stdout', 'x')).finished).toEqual({ code: 3, stdout: '', stderr: 'hakuriver task: There is no task x.\n' })
  })
})

describe('--follow', () => {
  it('waits for one that has not begun, ends by itself and exits as the task does', async () => {
    const model = createTaskModel(task)
    const running = await start(model, 'logs', task.id, '-f')
    model.task(task.id).begin()
    model.task(task.id).print('stdout', 'now\n')
    await running.seen('stdout', 'now')
    model.task(task.id).print('stderr', 'and then\n')
    model.task(task.id).end(4)
    expect(await running.finished).toEqual({ code: 4, stdout: 'now\n', stderr: `and then\nhakuriver: task ${task.id} failed: The command ended with exit code 4.\n` })
  })

  it('ends with one that was killed before it began', async () => {
    const model = createTaskModel(task)
    const running = await start(model, 'stdout', task.id, '-f')
    model.task(task.id).end(null, { state: 'killed', reason: 'user', message: 'Killed by ada.' })
    expect(await running.finished).toEqual({ code: 1, stdout: '', stderr: `hakuriver: task ${task.id} was killed: Killed by ada.\n` })
  })

  it('with --tail goes on behind what it has after a lost link', async () => {
    const model = createTaskModel(task)
    model.task(task.id).begin()
    const seen: string[] = []
    const host = await startStubHost({
      answers: {
        ...model.answers,
        getTaskStdout({ query, response }) {
          seen.push(`${query.get('tail')} ${query.get('offset')}`)
          response.writeHead(200, { 'hakuriver-offset': 100 })
          if (seen.length === 1) return void response.write('abc', () => setImmediate(() => response.destroy()))
          model.task(task.id).end(0)
          response.end('def')
        },
      },
    })
    expect(await programs.run('hakuriver.task', ['stdout', task.id, '--follow', '--tail', '5'], { env: host.env })).toMatchObject({ code: 0, stdout: 'abcdef' })
    expect(seen).toEqual(['5 null', 'null 103'])
  })
})

describe('of a batch', () => {
  it('the lines of its items, in the order of their indexes, each with its index', async () => {
    const model = createTaskModel(endedBatch, ...[10, 2].map((index) => itemOf(index, { state: 'succeeded', instance: 1 })), itemOf(3))
    model.task(`${batch.id}.2`).print('stdout', 'a\r\nb\rc')
    model.task(`${batch.id}.2`).print('stderr', 'oh\n')
    model.task(`${batch.id}.10`).print('stdout', '\n')
    expect(await (await start(model, 'logs', batch.id)).finished).toEqual({ code: 0, stdout: '2: a\r\n2: b\r2: c\n10: \n', stderr: '2: oh\n' })
    expect(await (await start(model, 'stdout', `${batch.id}.2`)).finished).toMatchObject({ code: 0, stdout: 'a\r\nb\rc' })
  })

  it('--follow ends with the batch, and as it does', async () => {
    const model = createTaskModel(batch, itemOf(1, { state: 'running', instance: 1 }))
    const running = await start(model, 'logs', batch.id, '--follow')
    model.task(`${batch.id}.1`).print('stdout', 'x\n')
    await running.seen('stdout', '1: x\n')
    model.task(`${batch.id}.1`).end(2)
    model.task(batch.id).set(endedBatch)
    expect(await running.finished).toEqual({ code: 2, stdout: '1: x\n', stderr: `hakuriver: batch ${batch.id} failed: 1 of 3 items failed.\n` })
  })

  it('shows the others where that of an item is gone, and ends with 3', async () => {
    const model = createTaskModel(endedBatch, ...[1, 2].map((index) => itemOf(index, { state: 'succeeded', instance: 1 })))
    model.task(`${batch.id}.2`).print('stdout', 'there\n')
    const getTaskStdout = (request: StubRequest) => {
      if (request.params['id'] === `${batch.id}.1`) throw new HakuError('output.not_found', 'It was cleaned up.')
      return model.answers.getTaskStdout?.(request)
    }
    const host = await startStubHost({ answers: { ...model.answers, getTaskStdout } })
    expect(await programs.run('hakuriver.task', ['stdout', batch.id], { env: host.env })).toEqual({ code: 3, stdout: '2: there\n', stderr: 'hakuriver task: It was cleaned up.\n' })
  })

  it('an item that can not be read is told, and ends it', async () => {
    const model = createTaskModel(batch, itemOf(1, { state: 'running', instance: 1 }))
    const host = await startStubHost({ answers: { ...model.answers, getTaskStdout: () => { throw new HakuError('storage.unavailable', 'The share hangs.') } } })
    expect(await programs.run('hakuriver.task', ['stdout', batch.id, '--follow'], { env: host.env })).toEqual({ code: 1, stdout: '', stderr: 'hakuriver task: The share hangs.\n' })
  })
})
