import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { type SubmitArgs } from '#cli/tasks/submit-args.ts'
import { submitTask } from '#cli/commands/task/submit.ts'
import type { Command, CommandContext } from '#cli/framework/command.ts'
import { parseCommandLine } from '#cli/framework/parse.ts'
import { createSubmission, type Submission } from '#cli/tasks/submission.ts'

const directory = mkdtempSync(join(tmpdir(), 'hakuriver-submission-'))
afterAll(() => rmSync(directory, { recursive: true }))

const ID = '01aaaaaaaaaaaaaaaaaaaaaaaa'

async function read(...options: string[]): Promise<Submission> {
  return createSubmission(parseCommandLine(submitTask as Command, [...(options.includes('--container') ? [] : ['--container', 'my-env']), ...options, '--', 'true']) as CommandContext<SubmitArgs>)
}

const body = async (...options: string[]) => (await read(...options)).body

function file(name: string, text: string | Buffer): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

describe('what each option says', () => {
  it.each<[string[], Partial<Submission['body']>]>([
    [[], { command: ['true'], environment: 'my-env', items: null, parallel: null, submitter: userInfo().username }],
    [['--container', 'my-env@1700000000'], { environment: 'my-env', version: 1_700_000_000 }],
    [['--container', 'NULL'], { environment: null }],
    [['--target', 'node1', '--target', 'node2:0::1,2'], { targets: ['node1', 'node2:0::1,2'] }],
    [['--cores', '0', '--memory', '24G', '--gpus', '2', '--gpu-memory', '24G'], { cores: 0, memoryBytes: 24e9, gpus: 2, gpuMemoryBytes: 24e9 }],
    [['--user', '1000:100', '--workdir', '/w', '--network', 'none', '--privileged', '--name', 'a b'], { user: '1000:100', workdir: '/w', network: 'none', privileged: true, name: 'a b' }],
    [['--priority', '-5', '--key', 'x'.repeat(64), '--time-limit', '366d', '--grace', '1h'], { priority: -5, timeLimitSeconds: 31_622_400, graceSeconds: 3600 }],
    [['--priority=-5', '--hold', '--retry', '3', '--time-limit', '1-12:00:00', '--signal', 'usr1', '--grace', '1m'], { priority: -5, hold: true, retries: 3, timeLimitSeconds: 129_600, signal: 'SIGUSR1', graceSeconds: 60 }],
    [['--signal', 'SIGINT'], { signal: 'SIGINT' }],
    [['--at', '2026-02-05T10:30Z'], { at: '2026-02-05T10:30:00.000Z' }],
    [['--after', ID, '--after', `any:${ID}.7`, '--after', `fail:${ID}`], { after: [{ on: 'ok', task: ID }, { on: 'any', task: `${ID}.7` }, { on: 'fail', task: ID }] }],
    [['--array', '1-1000%50'], { items: { kind: 'array', indexes: '1-1000' }, parallel: 50 }],
    [['--array', '1,3,7-9,0-100:10', '--parallel', '4', '--pack'], { items: { kind: 'array', indexes: '1,3,7-9,0-100:10' }, parallel: 4, pack: true }],
    [['--sweep', 'lr=0.1,0.01 seed=1..3'], { items: { kind: 'sweep', parameters: [{ name: 'lr', values: ['0.1', '0.01'] }, { name: 'seed', values: ['1', '2', '3'] }] } }],
    [['--sweep', 'a=-2..2:2', '--sweep', `b="x, y",'',z\\ z`], { items: { kind: 'sweep', parameters: [{ name: 'a', values: ['-2', '0', '2'] }, { name: 'b', values: ['x, y', '', 'z z'] }] } }],
    [['--notify', 'https://example.org/hook'], { notifyUrl: 'https://example.org/hook' }],
    [['--key', 'my-own-key'], { key: 'my-own-key' }],
  ])('%j', async (options, expected) => {
    expect(await body(...options)).toMatchObject(expected)
  })

  it('gives each submission a key of its own', async () => {
    const [first, second] = [await body(), await body()]
    expect(first.key).toMatch(/^[\w-]{20,64}$/)
    expect(first.key).not.toBe(second.key)
  })

  it('lines of a file are items, without their ends', async () => {
    expect((await body('--each-line', file('lines', 'a b\r\n\n  c \nü "$x"'))).items).toEqual({ kind: 'lines', lines: ['a b', '', '  c ', 'ü "$x"'] })
    expect((await body('--each-line', file('one', 'x\n'))).items).toEqual({ kind: 'lines', lines: ['x'] })
  })

  it('variables come from files, from here, and from the command line, the later ones first', async () => {
    vi.stubEnv('FROM_HERE', 'here=1')
    vi.stubEnv('NOT_HERE', undefined)
    const told = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const path = file('vars', '# a comment\n\nA=1\r\n  B="q"\nFROM_HERE\nC=3')
    const { env } = await body('--env-file', path, '--env', 'A=2', '--env', 'NOT_HERE', '--env', 'D=')
    expect(env).toEqual({ A: '2', B: '"q"', FROM_HERE: 'here=1', C: '3', D: '' })
    expect(told.mock.calls).toEqual([['--env "NOT_HERE": there is no such variable here, so the task does not get it.\n']])
    vi.unstubAllEnvs()
    told.mockRestore()
  })

  it('a command of --notify is split as a shell does, and nothing else', async () => {
    expect((await read('--wait', '--notify', `mail -s 'it is "done"' "a\\"b $X" c\\ d`)).notifyCommand).toEqual(['mail', '-s', 'it is "done"', 'a"b $X', 'c d'])
  })
})

describe('what is wrong names its option', () => {
  it.each([
    [['--container', 'Bad_Name'], '--container "Bad_Name" is not a valid environment name'],
    [['--container', 'my-env@x'], '--container "x" is not a version'],
    [['--target', 'a b'], '--target "a b" is not a target'],
    [['--cores', 'many'], '--cores "many" is not a whole number from 0 to 4096'],
    [['--memory', '3X'], '--memory "3X" is not a size'],
    [['--memory', '1M'], '--memory is less than 6 MiB'],
    [['--gpus', '65'], '--gpus "65" is not a whole number from 0 to 64'],
    [['--gpu-memory', '24G'], '--gpu-memory says nothing without --gpus'],
    [['--env', '=1'], '--env "=1" is not NAME=VALUE'],
    [['--env', ''], '--env "" is not NAME=VALUE or NAME'],
    [['--env', 'A B=1'], '--env "A B" is not a name of a variable: it has a blank.'],
    [['--env', 'A B'], '--env "A B" is not a name of a variable: it has a blank.'],
    [['--env', `${'x'.repeat(1025)}=1`], 'x…" has more than 1024 characters.'],
    [['--env-file', '/nowhere'], '--env-file "/nowhere" can not be read: ENOENT'],
    [['--mount', ...Array<string>(64).fill('/a:/b').flatMap((mount) => [mount, '--mount']), '/a:/b'], '--mount is given more than 64 times.'],
    [['--gpus', '1', '--gpu-memory', '0'], '--gpu-memory is not more than 0.'],
    [['--notify', 'http://'], '--notify "http://" is no valid URL.'],
    [['--mount', 'data:/data'], '--mount "data:/data" is not a mount'],
    [['--user', 'bob'], '--user "bob" is not UID or UID:GID'],
    [['--workdir', 'x'], '--workdir "x" is not an absolute path'],
    [['--network', 'a b'], '--network "a b" is not a network'],
    [['--name', 'x'.repeat(257)], 'x…" has more than 256 characters.'],
    [['--key', 'short'], '--key "short" has 5 characters; a key has 8 to 64.'],
    [['--key', 'x'.repeat(65)], ' has 65 characters; a key has 8 to 64.'],
    [['--priority', '1001'], '--priority "1001" is not a whole number from -1000 to 1000'],
    [['--at', 'soon'], '--at "soon" is not a time'],
    [['--after', 'done:x'], '--after "done:x" is not ok:ID, any:ID or fail:ID'],
    [['--after', `done:${ID}`], `--after "done:${ID}" is not`],
    [['--retry', '-1'], '--retry "-1" is not a whole number from 0 to 1000'],
    [['--retry=-1'], '--retry "-1" is not a whole number'],
    [['--time-limit', '0'], '--time-limit "0" is not a duration from 0.001s to 366d.'],
    [['--time-limit', '1h1h'], '--time-limit "1h1h" is not a duration.'],
    [['--time-limit', 'x'], '--time-limit "x" is not a duration'],
    [['--signal', 'STOP'], '--signal "STOP" is none of TERM, INT, HUP, QUIT, USR1, USR2, KILL'],
    [['--grace', '2h'], '--grace "2h" is not a duration from 0s to 1h.'],
    [['--array', 'a-b'], '--array "a-b" in "a-b" is no list of indexes'],
    [['--array', ''], '--array "" in "" is no list of indexes'],
    [['--array', '1-3%0'], '--array "1-3%0": "0" is not a whole number'],
    [['--array', '1-3%2', '--parallel', '2'], '--array "1-3%2" and --parallel both say how many at a time'],
    [['--array', '1-3', '--sweep', 'a=1'], '--array and --sweep can not be given together'],
    [['--each-line', '/nowhere'], '--each-line "/nowhere" can not be read: ENOENT'],
    [['--array', '3-1'], '--array "3-1" in "3-1" is no list of indexes'],
    [['--array', '1-2000000'], '--array: A batch of 2000000 items is too large'],
    [['--sweep', ''], '--sweep is empty'],
    [['--sweep', 'HAKURIVER_X=1'], '--sweep: A sweep can not have "HAKURIVER_X"'],
    [['--sweep', '1a=2'], '--sweep "1a=2" is not NAME=VALUE'],
    [['--sweep', 'a'], '--sweep "a" is not NAME=VALUE'],
    [['--sweep', 'a='], '--sweep "a=" has an empty value'],
    [['--sweep', 'a=1,,2'], '--sweep "a=1,,2" has an empty value'],
    [['--sweep', 'a=3..1'], '--sweep "3..1" has no numbers: a range goes up'],
    [['--sweep', 'a=1..3:0'], '--sweep "1..3:0" has no numbers'],
    [['--sweep', 'a=1 a=2'], '--sweep: The sweep has "a" twice'],
    [['--sweep', 'a=1..1000 b=1..1000 c=1,2'], '--sweep: The sweep has 2000000 combinations; 1000000 is the most'],
    [['--sweep', 'a=1..99999999'], '--sweep "1..99999999" has 99999999 numbers'],
    [['--sweep', `a="x`], 'has a quote or a backslash that nothing follows'],
    [['--parallel', '3'], '--parallel is for several tasks'],
    [['--pack'], '--pack is for the items'],
    [['--notify', 'mail me'], '--notify "mail me" is a command, which runs here: that needs --wait'],
    [['--wait', '--notify', ' '], '--notify is empty'],
    [['--wait', '--dry-run'], 'There is nothing to --wait for with --dry-run'],
  ])('%j', async (options, message) => {
    await expect(read(...options)).rejects.toThrow(expect.objectContaining({ message: expect.stringContaining(message) }) as Error)
  })

  it.each([
    ['nothing', '', 'has no line'],
    ['zero', 'a\0b', 'holds a NUL character'],
    ['latin', Buffer.from([0x61, 0xe9, 0x0a]), 'can not be read: it is not UTF-8'],
  ])('lines that hold %s', async (name, text, message) => {
    await expect(read('--each-line', file(name, text))).rejects.toThrow(message)
  })

  it.each([
    ['a blank', 'A=1\nB C=2', 'B C" is not a name of a variable: it has a blank.'],
    ['latin', Buffer.from([0x41, 0x3d, 0xe9, 0x0a]), 'can not be read: it is not UTF-8'],
  ])('variables that hold %s', async (name, text, message) => {
    await expect(read('--env-file', file(`variables of ${name}`, text))).rejects.toThrow(message)
  })
})
