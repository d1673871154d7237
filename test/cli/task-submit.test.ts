import { userInfo } from 'node:os'
import { describe, expect, it } from 'vitest'
import type { SubmitPreview } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { decodeUser } from '#core/user.ts'
import { usePrograms } from './support/programs.ts'
import { batch, task } from './support/samples.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'

const programs = usePrograms()
const submit = (host: StubHost, ...options: string[]) => programs.start('hakuriver.task', ['submit', '--container', 'my-env', ...options, '--', 'true'], { env: host.env })
const submitted = (host: StubHost) => host.requests.filter(({ id }) => id === 'submitTask').map(({ body }) => body as Record<string, unknown>)

describe('a submission', () => {
  it('is sent exactly as it was told, with who sends it', async () => {
    let user: string | undefined
    const host = await startStubHost({ answers: { submitTask: ({ headers }) => ((user = decodeUser(headers['hakuriver-user'])), { tasks: [task] }) } })
    const argv = ['submit', '--target', 'node1', '--container', 'my-env', '--cores', '2', '--env', 'A=', '--', 'sh', '-c', 'echo "$A"; ls | wc', '', '--wait', '--', 'ü\n', "'$(id)'"]
    expect(await programs.run('hakuriver.task', argv, { env: host.env })).toEqual({ code: 0, stdout: `${task.id}\n`, stderr: '' })
    expect(submitted(host)).toMatchObject([{
      command: ['sh', '-c', 'echo "$A"; ls | wc', '', '--wait', '--', 'ü\n', "'$(id)'"], environment: 'my-env', targets: ['node1'], cores: 2, env: { A: '' }, submitter: userInfo().username,
    }])
    expect(user).toBe(userInfo().username)
  })

  it('takes lines from standard input', async () => {
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks: [batch] }) } })
    const argv = ['submit', '--container', 'my-env', '--each-line', '-', '--', 'echo', '%{line}']
    expect(await programs.run('hakuriver.task', argv, { env: host.env, input: 'one\ntwo' })).toEqual({ code: 0, stdout: `${batch.id}\n`, stderr: '' })
    expect(submitted(host)).toMatchObject([{ items: { kind: 'lines', lines: ['one', 'two'] } }])
  })

  it('prints one object for one task and an array for several', async () => {
    const second = { ...task, id: '01cccccccccccccccccccccccc' }
    let tasks = [task]
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks }) } })
    expect(JSON.parse((await submit(host, '--json').finished).stdout)).toEqual(task)
    tasks = [task, second]
    expect(JSON.parse((await submit(host, '--json').finished).stdout)).toEqual([task, second])
    expect((await submit(host).finished).stdout).toBe(`${task.id}\n${second.id}\n`)
  })

  it.each([
    ['an argument', String.raw`exec hakuriver.task submit --container my-env -- echo "$(printf '\377\376x')"`, 'The argument "\uFFFD\uFFFDx" is not UTF-8'],
    ['the value of an option', String.raw`exec hakuriver.task submit --name "$(printf 'a\351')" --container my-env -- true`, 'The argument "a\uFFFD" is not UTF-8'],
    ['a variable', String.raw`BAD="$(printf 'caf\351')" exec hakuriver.task submit --env BAD --container my-env -- true`, '--env "BAD": its value here is not UTF-8'],
  ])('with %s that is not UTF-8 is refused, and not changed', async (_what, script, message) => {
    const host = await startStubHost()
    const { code, stderr } = await programs.run('sh', ['-c', script], { env: host.env })
    expect({ code, requests: host.requests }).toEqual({ code: 2, requests: [] })
    expect(stderr).toContain(message)
  })

  it('hands on U+FFFD itself', async () => {
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks: [task] }) } })
    const { code } = await programs.run('hakuriver.task', ['submit', '--container', 'my-env', '--env', 'ODD', '--', 'echo', '', '\uFFFD'], { env: { ...host.env, ODD: 'x\uFFFD' } })
    expect(code).toBe(0)
    expect(submitted(host)).toMatchObject([{ command: ['echo', '', '\uFFFD'], env: { ODD: 'x\uFFFD' } }])
  })

  it('with a mistake is refused before the Host is asked', async () => {
    const host = await startStubHost()
    const { code, stdout, stderr } = await submit(host, '--memory', '3X').finished
    expect({ code, stdout, requests: host.requests }).toEqual({ code: 2, stdout: '', requests: [] })
    expect(stderr).toContain('--memory "3X" is not a size')
  })

  it('--dry-run tells what would come of it, and submits nothing', async () => {
    const preview: SubmitPreview = {
      environment: 'my-env', version: 1_700_000_000, fileName: 'my-env-1700000000.tar',
      tasks: [{ target: null, node: 'node1', place: 0, message: null, syncBytes: 5e6 }, { target: 'node2', node: 'node2', place: 3, message: 'Waits for 1 free core.', syncBytes: 0 }],
    }
    const host = await startStubHost({ answers: { previewTask: () => preview } })
    expect((await submit(host, '--dry-run').finished).stdout.split('\n')).toEqual([
      'NODE    VERSION                 TO LOAD   QUEUE            WAITS FOR',
      'node1   my-env-1700000000.tar   5.00 MB   starts at once   -',
      'node2   my-env-1700000000.tar   nothing   place 3          Waits for 1 free core.',
      '',
    ])
    expect(JSON.parse((await submit(host, '--dry-run', '--json').finished).stdout)).toEqual(preview)
    expect(host.requests.map(({ id }) => id)).toEqual(['previewTask', 'previewTask'])
  })
})

describe('when the link is lost', () => {
  it('before the answer, it submits again with the same key', async () => {
    let times = 0
    const host = await startStubHost({ answers: { submitTask: ({ response }) => (++times < 3 ? void response.destroy() : { tasks: [task] }) } })
    const { code, stdout, stderr } = await submit(host).finished
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${task.id}\n` })
    expect(stderr).toMatch(/^The Host at .* can not be reached: ECONNRESET.* Submitting again with the same key\.\n$/)
    const keys = submitted(host).map(({ key }) => key)
    expect(keys).toHaveLength(3)
    expect(new Set(keys).size).toBe(1)
  })

  it('a Host that refuses the second time has the word', async () => {
    let times = 0
    const host = await startStubHost({ answers: { submitTask({ response }) {
      if (++times === 1) return void response.destroy()
      throw new HakuError('node.too_small', 'No node has 9 GPUs.')
    } } })
    const { code, stderr } = await submit(host).finished
    expect(code).toBe(1)
    expect(stderr).toMatch(/hakuriver task: No node has 9 GPUs\.\n$/)
  })

  it('and a Host that never was there is told at once', async () => {
    expect(await programs.run('hakuriver.task', ['submit', '--host', '127.0.0.1:1', '--container', 'my-env', '--', 'true'])).toMatchObject({ code: 5, stdout: '', stderr: expect.not.stringContaining('again') as string })
  })

  it('and the Host stays away, nobody knows, and it says how to submit safely', async () => {
    let answered = () => {}
    const gone = new Promise<void>((resolve) => {
      answered = resolve
    })
    const host = await startStubHost({ answers: { submitTask: ({ response }) => (answered(), void response.destroy()) } })
    const running = submit(host, '--key', 'my-own-key')
    await gone
    host.stop()
    const { code, stderr } = await running.finished
    expect(code).toBe(5)
    expect(stderr).toContain('Whether it has the submission is not known. Give the same command with --key my-own-key: then nothing is submitted twice.\n')
  })

  it.each([['SIGINT', 130], ['SIGTERM', 143]] as const)('%s before the answer says that nobody knows', async (signal, code) => {
    let asked = () => {}
    const arrived = new Promise<void>((resolve) => {
      asked = resolve
    })
    const host = await startStubHost({ answers: { submitTask: () => asked() } })
    const running = submit(host, '--key', 'my-own-key')
    await arrived
    running.child.kill(signal)
    expect(await running.finished).toEqual({ code, stdout: '', stderr: 'The Host has not answered yet: whether it has the submission is not known. Give the same command with --key my-own-key: then nothing is submitted twice.\n' })
  })
})
