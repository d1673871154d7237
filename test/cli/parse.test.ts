import { describe, expect, it } from 'vitest'
import { type Command, defineCommand } from '#cli/framework/command.ts'
import { parseCommandLine, splitGlobals } from '#cli/framework/parse.ts'

const plain: Command = defineCommand({
  description: 'plain',
  example: 'plain',
  args: {
    image: { type: 'positional', description: 'image' },
    name: { type: 'positional', required: false, description: 'name' },
    action: { type: 'positional', required: false, description: 'action', choices: ['pause', 'resume'] },
    pull: { type: 'boolean', description: 'pull' },
    note: { type: 'string', alias: 'm', valueHint: 'text', description: 'note' },
    env: { type: 'string', multiple: true, valueHint: 'a=b', description: 'env' },
  },
  run: () => Promise.resolve(),
})

const withRest: Command = defineCommand({
  description: 'with a command of the user',
  example: 'with-rest -- command',
  args: {
    container: { type: 'string', required: true, valueHint: 'name', description: 'environment' },
    wait: { type: 'boolean', description: 'wait' },
  },
  rest: { name: 'command', description: 'command' },
  run: () => Promise.resolve(),
})

describe('options', () => {
  it.each([
    [['img', '--note', 'hi'], { image: 'img', note: 'hi' }],
    [['img', '--note=hi'], { note: 'hi' }],
    [['img', '-m', 'hi'], { note: 'hi' }],
    [['img', '-mhi'], { note: 'hi' }],
    [['--note', 'hi', 'img'], { image: 'img', note: 'hi' }],
    [['img', '--note=-x'], { note: '-x' }],
    [['img', '--note', '-5'], { note: '-5' }],
    [['--note', '-5', 'img'], { image: 'img', note: '-5' }],
    [['img', '-m', '-0.5', '--env', '-1', '--env', '-2'], { note: '-0.5', env: ['-1', '-2'] }],
    [['img', '--note='], { note: '' }],
    [['img', '--pull'], { pull: true }],
    [['img'], { pull: false, note: undefined, env: [], name: undefined, json: false }],
    [['img', '--env', 'A=1', '--env=B=2=3'], { env: ['A=1', 'B=2=3'] }],
    [['img', 'env', 'pause'], { image: 'img', name: 'env', action: 'pause' }],
    [['--', 'img', '--pull'], { image: 'img', name: '--pull', pull: false }],
    [['--help'], { help: true }],
    [['-h'], { help: true }],
  ])('%j', (argv, expected) => {
    expect(parseCommandLine(plain, argv).args).toMatchObject(expected)
  })
})

describe('strictness', () => {
  it.each([
    [['img', '--bogus'], '"--bogus" is not an option here.'],
    [['img', '--pul'], '"--pul" is not an option here; did you mean --pull?'],
    [['img', '-x'], '"-x" is not an option here.'],
    [['img', '--no-pull'], '"--no-pull" is not an option here.'],
    [['img', '--pull=yes'], '--pull takes no value.'],
    [['img', '--note'], '--note needs a value.'],
    [['img', '--note', '--pull'], '--note needs a value.'],
    [['img', '--note', '--', '-5'], '--note needs a value.'],
    [['img', '--pull', '-5'], '"-5" is not an option here.'],
    [['img', '--note', 'a', '--note', 'b'], '--note may be given only once.'],
    [['img', '-m', 'a', '--note', 'b'], '--note may be given only once.'],
    [[], 'IMAGE is missing.'],
    [[''], 'IMAGE is empty.'],
    [['a', 'b', 'freeze'], 'ACTION must be pause or resume, not "freeze".'],
    [['a', 'b', 'pause', 'd'], '"d" is one argument too many.'],
  ])('%j is refused', (argv, message) => {
    expect(() => parseCommandLine(plain, argv)).toThrow(expect.objectContaining({ code: 'usage.invalid', message: expect.stringContaining(message) }))
  })
})

describe('several at the end', () => {
  const several: Command = defineCommand({
    description: 'several',
    example: 'several a b',
    args: {
      action: { type: 'positional', description: 'action', choices: ['pause', 'resume'] },
      id: { type: 'positional', multiple: true, description: 'ids' },
      force: { type: 'boolean', description: 'force' },
    },
    run: () => Promise.resolve(),
  })
  const optional: Command = { ...several, args: { id: { type: 'positional', multiple: true, required: false, description: 'ids' } } }

  it.each([
    [['pause', 'a'], ['a']],
    [['pause', 'a', '--force', 'b', 'c'], ['a', 'b', 'c']],
    [['pause', '--', 'a', '--force'], ['a', '--force']],
  ])('%j', (argv, id) => {
    expect(parseCommandLine(several, argv).args).toMatchObject({ action: 'pause', id })
  })

  it.each([
    [['pause'], 'ID is missing.'],
    [['freeze', 'a'], 'ACTION must be pause or resume'],
    [['pause', 'a', ''], 'ID is empty.'],
  ])('%j is refused', (argv, message) => {
    expect(() => parseCommandLine(several, argv)).toThrow(message)
  })

  it('none, where none are needed', () => {
    expect(parseCommandLine(optional, []).args).toMatchObject({ id: [] })
    expect(parseCommandLine(optional, ['a', 'b']).args).toMatchObject({ id: ['a', 'b'] })
  })
})

describe('a value that may be left out', () => {
  const implied: Command = defineCommand({
    description: 'implied',
    example: 'implied app',
    args: {
      parallel: { type: 'string', implied: 'cores', valueHint: 'number', description: 'parallel' },
      note: { type: 'string', valueHint: 'text', description: 'note' },
    },
    rest: { name: 'app', description: 'app' },
    run: () => Promise.resolve(),
  })

  it.each([
    [['--parallel', 'app', '--parallel', '3'], 'cores', ['app', '--parallel', '3']],
    [['--parallel', '4', 'app'], '4', ['app']],
    [['--parallel=4', 'app'], '4', ['app']],
    [['--parallel', '--', '4'], 'cores', ['4']],
    [['--note', 'x', '--parallel', '--json', 'app'], 'cores', ['app']],
    [['app', '--parallel'], undefined, ['app', '--parallel']],
  ])('%j', (argv, parallel, rest) => {
    const parsed = parseCommandLine(implied, argv)
    expect({ parallel: parsed.args['parallel'], rest: parsed.rest }).toEqual({ parallel, rest })
  })

  it('is not taken from another option', () => {
    expect(() => parseCommandLine(implied, ['--note', '--parallel', 'app'])).toThrow('--note needs a value')
  })
})

describe('the command of the user', () => {
  it.each([
    [['--container', 'e', '--', 'python', '-c', 'print(1)'], ['python', '-c', 'print(1)']],
    [['--container', 'e', '--', 'tool', '--help', '--container', 'x'], ['tool', '--help', '--container', 'x']],
    [['--container', 'e', '--', '--wait'], ['--wait']],
    [['--container', 'e', '--', 'a', '--', 'b'], ['a', '--', 'b']],
    [['--container', 'e', '--', '', ' ', '$(id)'], ['', ' ', '$(id)']],
    [['--container', 'e', 'ls', '-la', '--wait'], ['ls', '-la', '--wait']],
    [['--container=e', 'ls', '--', 'x'], ['ls', '--', 'x']],
    [['--container', 'e', 'nice', '--container', '-5'], ['nice', '--container', '-5']],
  ])('%j stays untouched', (argv, rest) => {
    const parsed = parseCommandLine(withRest, argv)
    expect(parsed.rest).toEqual(rest)
    expect(parsed.args).toMatchObject({ container: 'e', wait: false, help: false })
  })

  it.each([
    [['--container', 'e'], 'COMMAND is missing'],
    [['--container', 'e', '--'], 'COMMAND is missing'],
    [['ls', '--container', 'e'], '--container is missing. Write --container NAME before the command: what follows its first word is not looked at.'],
    [['--bogus', 'x', '--container', 'e', '--', 'ls'], '"--bogus" is not an option here.'],
    [['--container', '--', 'ls'], '--container needs a value.'],
  ])('%j is refused', (argv, message) => {
    expect(() => parseCommandLine(withRest, argv)).toThrow(message)
  })
})

describe('options before the command', () => {
  it.each([
    [['--config', 'f', 'docker', '--json'], ['--config', 'f'], ['docker', '--json']],
    [['--json', 'docker'], ['--json'], ['docker']],
    [['docker'], [], ['docker']],
    [['--help'], ['--help'], []],
  ])('%j', (argv, globals, rest) => {
    expect(splitGlobals(argv)).toEqual({ globals, rest })
  })
})
