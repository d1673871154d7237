import { describe, expect, it } from 'vitest'
import { usePrograms } from './support/programs.ts'
import { task } from './support/samples.ts'
import { startStubHost } from './support/stub-host.ts'
import { createTaskModel } from './support/task-model.ts'
import { startTerminal } from './support/terminal.ts'

const programs = usePrograms()
const SUBMIT = ['submit', '--container', 'my-env', '--wait', '--', 'sleep', '100']
const LEFT = `Left the task alone. Come back with "hakuriver task wait ${task.id}" or "hakuriver task logs ${task.id} --follow"; end it with "hakuriver task kill ${task.id}".`

async function startModel() {
  const model = createTaskModel(task)
  model.task(task.id).begin()
  model.task(task.id).print('stdout', 'begun\n')
  return { model, host: await startStubHost({ answers: model.answers }) }
}

describe('where nobody can be asked', () => {
  it.each([
    ['SIGINT', 130, SUBMIT],
    ['SIGTERM', 143, SUBMIT],
  ] as const)('%s leaves the task alone', async (signal, code, argv) => {
    const { host } = await startModel()
    const running = programs.start('hakuriver.task', [...argv], { env: host.env })
    await running.seen('stdout', 'begun')
    running.child.kill(signal)
    expect(await running.finished).toEqual({ code, stdout: 'begun\n', stderr: `${task.id}\n${LEFT}\n` })
    expect(host.requests.map(({ id }) => id)).not.toContain('killTask')
  })
})

describe('at a terminal, Ctrl-C asks', () => {
  async function ask() {
    const { model, host } = await startModel()
    const terminal = startTerminal('hakuriver.task', SUBMIT, programs.env(host.env))
    await terminal.seen('begun')
    terminal.pty.write('\u0003')
    await terminal.seen('Leave the task alone (d), kill it (k), or continue to wait (c)? [d/k/C]')
    return { model, host, terminal, one: model.task(task.id) }
  }

  it('d leaves it alone', async () => {
    const { host, terminal } = await ask()
    terminal.pty.write('d')
    expect(await terminal.ended).toBe(130)
    expect(terminal.output()).toContain('Left the task alone.')
    expect(host.requests.map(({ id }) => id)).not.toContain('killTask')
  })

  it('Ctrl-C again leaves it alone too', async () => {
    const { host, terminal } = await ask()
    terminal.pty.write('\u0003')
    expect(await terminal.ended).toBe(130)
    expect(terminal.output()).toContain('Left the task alone.')
    expect(host.requests.map(({ id }) => id)).not.toContain('killTask')
  })

  it('k kills it, waits for its end and exits as it does', async () => {
    const { host, terminal, one } = await ask()
    terminal.pty.write('k')
    await terminal.seen('Asking the Host to kill it')
    one.print('stdout', 'good')
    one.print('stdout', 'bye\n')
    one.end(143, { state: 'killed', reason: 'user', message: 'Killed by ada.' })
    expect(await terminal.ended).toBe(143)
    expect(terminal.output()).toContain('goodbye')
    expect(terminal.output()).toContain('was killed: Killed by ada.')
    expect(host.requests.filter(({ id }) => id === 'killTask')).toHaveLength(1)
  })

  it.each([['c', 'c'], ['\r', '']])('%j goes on, and nothing is written over the question', async (key, shown) => {
    const { terminal, one } = await ask()
    one.print('stdout', 'meanwhile\n')
    terminal.pty.write(key)
    await terminal.seen(`[d/k/C] ${shown}\r\nmeanwhile`)
    one.end(3)
    expect(await terminal.ended).toBe(3)
  })

  it('what is no answer is left unheard, and one asks again', async () => {
    const { terminal, one } = await ask()
    for (const key of ['\u001B[C', 'x', 'c']) terminal.pty.write(key)
    await terminal.seen('[d/k/C] c\r\n')
    terminal.pty.write('\u0003')
    await terminal.seen(/\[d\/k\/C\] c\r\n[^]*\[d\/k\/C\]/)
    terminal.pty.write('d')
    expect(await terminal.ended).toBe(130)
    expect(one.now.wish).toBe('run')
  })

  it('the end of the task is the answer, and what it printed is shown', async () => {
    const { terminal, one } = await ask()
    one.print('stdout', 'meanwhile\n')
    one.end(3)
    expect(await terminal.ended).toBe(3)
    expect(terminal.output()).toContain('[d/k/C] \r\nmeanwhile')
  })
})
