import { describe, expect, it } from 'vitest'
import { createLineBuffer } from '#cli/framework/line-buffer.ts'
import { expandSpans } from '#cli/run/spans.ts'
import { usePrograms } from './support/programs.ts'
import { startTerminal } from './support/terminal.ts'

const programs = usePrograms()

describe('spans', () => {
  it.each([
    [['a', 'b c'], [['a', 'b c']]],
    [['x', 'span:{1..3}'], [['x', '1'], ['x', '2'], ['x', '3']]],
    [['x', 'span:{-1..0}', 'span:[a,]'], [['x', '-1', 'a'], ['x', '-1', ''], ['x', '0', 'a'], ['x', '0', '']]],
    [['span:[p,q]', 'y'], [['p', 'y'], ['q', 'y']]],
    [['x', 'span:{1..1}'], [['x', '1']]],
    [['x', 'span:y', 'span:span:[a]', '--n=span:{1..2}'], [['x', 'y', 'span:[a]', '--n=span:{1..2}']]],
  ])('%j', (argv, expected) => {
    expect(expandSpans(argv)).toEqual(expected)
  })

  it.each([
    ['span:{3..1}', 'has no numbers: a range goes up'],
    ['span:[]', 'has no words'],
    ['span:{1.3}', 'is not span:{FIRST..LAST}'],
    ['span:{a..c}', 'is not span:{FIRST..LAST}'],
    ['span:{1..2', 'is not span:{FIRST..LAST}'],
    ['span:[a', 'is not span:[WORD,WORD]'],
    ['span:{1..9999999}', 'has 9999999 numbers'],
  ])('%s is a mistake of usage', async (span, message) => {
    const { code, stdout, stderr } = await programs.run('hakurun', ['echo', span])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(message)
  })
})

describe('lines', () => {
  async function written(...chunks: string[]) {
    const writes: string[] = []
    const lines = createLineBuffer(async (bytes) => void writes.push(bytes.toString()))
    for (const chunk of chunks) await lines.push(Buffer.from(chunk))
    await lines.end()
    return writes
  }

  it.each([
    [['a\nb\n'], ['a\nb\n']],
    [['a', 'b\nc'], ['ab\n', 'c\n']],
    [['10%\r', '20%\r', 'done\n'], ['10%\r', '20%\r', 'done\n']],
    [['a\r', '\nb\r\n'], ['a\r\nb\r\n']],
    [['a\r'], ['a\r\n']],
    [[], []],
  ])('%j are written as %j', async (chunks, writes) => {
    expect(await written(...chunks)).toEqual(writes)
  })

  it('one that does not end does not fill the memory', async () => {
    const half = 'x'.repeat(700_000)
    expect(await written(half, half, 'y\n')).toEqual([`${half}${half}\n`, 'y\n'])
  })
})

describe('hakurun', () => {
  it('runs each combination by argv, one after another, with our input and outputs', async () => {
    const run = programs.run('hakurun', ['sh', '-c', 'printf "<%s>" "$@"; read line; echo "$line" >&2', 'sh', 'span:[$(id), a b]', `"'ü`], { input: 'one\ntwo\n' })
    expect(await run).toEqual({ code: 0, stdout: `<$(id)><"'ü>< a b><"'ü>`, stderr: 'one\ntwo\n' })
  })

  it.each([
    [['sh', '-c', 'exit $0', 'span:{0..3}'], 3],
    [['sh', '-c', 'exit $((3 - $0))', 'span:{0..3}'], 3],
    [['sh', '-c', 'exit 0', 'span:{0..3}'], 0],
    [['sh', '-c', 'kill -9 $$'], 137],
    [['--parallel', 'sh', '-c', 'exit $0', 'span:{0..3}'], 3],
    [['--parallel', '2', 'sh', '-c', 'test $0 != 2', 'span:{0..3}'], 1],
    [['/etc/passwd'], 126],
    [['/etc/passwd/x', 'span:{0..1}'], 126],
  ])('%j ends with %i', async (argv, code) => {
    expect(await programs.run('hakurun', argv)).toMatchObject({ code })
  })

  it.each([[[]], [['--parallel']]])('says that there is no such program (%j)', async (options) => {
    expect(await programs.run('hakurun', [...options, 'no-such-program', 'x'])).toEqual({ code: 127, stdout: '', stderr: '"no-such-program" could not be run: spawn no-such-program ENOENT\n' })
  })

  it('runs all, whatever becomes of the others', async () => {
    expect(await programs.run('hakurun', ['sh', '-c', 'echo $0; exit $0', 'span:{1..3}'])).toMatchObject({ code: 3, stdout: '1\n2\n3\n' })
  })

  it('--parallel N runs so many at a time', async () => {
    // Two that wait for each other, so both must run; a third would find their mark.
    const script = 'mkdir "$0/$1"; while ! ls "$0" | grep -q .; do :; done; n=$(ls "$0" | wc -l); [ "$n" -le 2 ] || echo "$n at a time"; sleep 0.1; rmdir "$0/$1"'
    const { code, stdout } = await programs.run('sh', ['-c', 'd=$(mktemp -d) && hakurun --parallel 2 sh -c "$1" "$d" "span:{1..8}"; code=$?; rmdir "$d"; exit $code', 'sh', script])
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
  })

  it('--parallel mixes nothing inside a line, and loses nothing', async () => {
    const { code, stdout, stderr } = await programs.run('hakurun', ['--parallel', '8', 'sh', '-c', 'for i in 1 2 3 4 5 6 7 8 9 10; do printf "$0"; printf " $0 "; printf "$i\\n"; done; printf "end $0" >&2', 'span:{1..20}'])
    expect(code).toBe(0)
    const expected = Array.from({ length: 20 }, (_, run) => Array.from({ length: 10 }, (__, line) => `${run + 1} ${run + 1} ${line + 1}`)).flat()
    expect(stdout.trimEnd().split('\n').toSorted()).toEqual(expected.toSorted())
    expect(stderr.trimEnd().split('\n').toSorted()).toEqual(Array.from({ length: 20 }, (_, run) => `end ${run + 1}`).toSorted())
  })

  it('--dry-run prints what would be run', async () => {
    expect(await programs.run('hakurun', ['--dry-run', 'no-such', 'span:{1..2}', 'a b'])).toEqual({ code: 0, stdout: '["no-such","1","a b"]\n["no-such","2","a b"]\n', stderr: '' })
    expect(JSON.parse((await programs.run('hakurun', ['--dry-run', '--json', 'x', 'span:{1..2}'])).stdout)).toEqual([['x', '1'], ['x', '2']])
  })

  it.each([['SIGTERM', 143], ['SIGINT', 130]] as const)('%s goes on to what runs, and nothing more is begun', async (signal, code) => {
    const running = programs.start('hakurun', ['sh', '-c', 'trap "echo caught; exit 0" TERM INT; echo begun $0; while :; do sleep 0.05; done', 'span:{1..5}'])
    await running.seen('stdout', 'begun 1\n')
    running.child.kill(signal)
    expect(await running.finished).toEqual({ code, stdout: 'begun 1\ncaught\n', stderr: '' })
  })

  it('Ctrl-C at a terminal ends it once what runs has ended', async () => {
    const terminal = startTerminal('hakurun', ['sh', '-c', 'trap "sleep 0.2; echo cleaned up; exit 0" INT; echo begun; while :; do sleep 0.05; done', 'x'], programs.env())
    await terminal.seen('begun')
    terminal.pty.write('\u0003')
    expect(await terminal.ended).toBe(130)
    expect(terminal.output()).toContain('cleaned up')
  })
})
