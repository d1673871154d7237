import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { outputChannels } from '#core/tasks/channels.ts'
import { readStatus } from '#runner/linux/proc.ts'
import { scopeOf } from '#runner/processes/remove.ts'
import { createPlainNode, machineCgroups, machineSetup, noCgroups, type PlainNode } from './support/plain-node.ts'

const isRoot = process.getuid?.() === 0
if (!isRoot) console.log('tests of plain processes of other users are skipped: this is not root')

/** Whether a process with this number runs. */
function runs(pid: number): boolean {
  return readStatus(pid)?.isZombie === false
}

/** Once with what this machine has, and once as on a machine without cgroups. */
describe.each([
  ['the cgroups of this machine', machineCgroups, machineSetup.kind === 'group' ? expect.stringContaining('does not limit the cores') : null],
  ['no cgroups', noCgroups, 'This node does not limit the cores of a plain process: it has no cgroups.'],
] as const)('plain processes with %s', (_, setupOf, note) => {
  let node: PlainNode

  beforeAll(async () => {
    node = await createPlainNode(setupOf)
  })
  afterAll(() => node?.remove())
  afterEach(() => {
    delete process.env['HAKURIVER_TEST_SECRET']
  })

  const printedPids = async (order: Parameters<PlainNode['stdout']>[0]) => (await node.stdout(order)).trim().split('\n').map(Number)

  it('hands over argv untouched', async () => {
    const args = ['', ' ', 'a b', `'"\`$(touch /x)$HOME`, '\n\t', '-n', '--help', '*', '\\', 'ünïcødé 🚀', ';&|<>#!', 'x'.repeat(131_071)]
    const report = await node.run(['/bin/sh', '-c', 'for a in "$@"; do printf "<%s>" "$a"; done', 'sh', ...args])
    expect(report).toMatchObject({ state: 'succeeded', reason: null, message: note, exitCode: 0 })
    expect(await node.stdout(report)).toBe(args.map((argument) => `<${argument}>`).join(''))
  })

  it('tells of a word that the kernel does not take', async () => {
    const report = await node.run(['/bin/echo', 'x'.repeat(131_072)])
    expect(report).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode: 126 })
    expect(report.message).toMatch(/longer than the kernel takes/)
  })

  it('gives it its own environment, and nothing of the Runner', async () => {
    process.env['HAKURIVER_TEST_SECRET'] = 'token'
    const report = await node.run(['env', '-0'], { env: { A: ' x=\n"y" ', PATH: '/usr/bin:/bin' } })
    const variables = Object.fromEntries((await node.stdout(report)).split('\0').filter(Boolean).map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
    expect(variables).toEqual({
      A: ' x=\n"y" ',
      PATH: '/usr/bin:/bin',
      HOME: expect.stringMatching(/^\//),
      CUDA_VISIBLE_DEVICES: '',
      NVIDIA_VISIBLE_DEVICES: 'void',
      HAKURIVER_TASK_ID: report.id,
      HAKURIVER_NODE: node.hostname,
      HAKURIVER_ENVIRONMENT: 'NULL',
      HAKURIVER_INSTANCE: '1',
    })
  })

  it('names its GPUs', async () => {
    const report = await node.run(['sh', '-c', 'echo "$CUDA_VISIBLE_DEVICES" "$NVIDIA_VISIBLE_DEVICES"'], { gpus: [{ id: 0, uuid: 'GPU-a' }, { id: 2, uuid: 'GPU-c' }] })
    expect(await node.stdout(report)).toBe('GPU-a,GPU-c GPU-a,GPU-c\n')
  })

  it('works in the shared data, unless told otherwise', async () => {
    expect(await node.stdout(await node.run(['pwd']))).toBe(`${node.paths.data}\n`)
    expect(await node.stdout(await node.run(['pwd'], { workdir: '/usr' }))).toBe('/usr\n')
    const report = await node.run(['pwd'], { workdir: '/no/such/directory' })
    expect(report).toMatchObject({ state: 'failed', reason: 'start_failed', exitCode: null })
    expect(report.message).toContain('/no/such/directory')
  })

  it.skipIf(!isRoot).each([
    ['65534', '65534:65534:65534'],
    ['12345', '12345:12345:12345'],
    ['12345:7', '12345:7:7'],
  ])('runs as user %s, with no groups of the Runner', async (user, expected) => {
    const report = await node.run(['sh', '-c', 'echo "$(id -u):$(id -g):$(id -G)"; echo again > /dev/stdout; echo trouble > /dev/stderr'], { user, workdir: '/' })
    expect(await node.stdout(report)).toBe(`${expected}\nagain\n`)
    expect(await node.stderr(report)).toBe('trouble\n')
  })

  it.skipIf(!isRoot)('runs as root without a user, and then too with no groups of the Runner', async () => {
    const groups = process.getgroups?.() ?? []
    process.setgroups?.([...groups, 12345])
    try {
      expect(await node.stdout(await node.run(['sh', '-c', 'echo "$(id -u):$(id -G)"']))).toBe(`0:${process.getgid?.()}\n`)
    } finally {
      process.setgroups?.(groups)
    }
  })

  it('keeps both outputs byte for byte, also when they are opened again', async () => {
    const report = await node.run(['sh', '-c', 'printf "\\377\\000a"; echo b > /dev/stdout; echo c | tee /dev/stderr; head -c 30000000 /dev/zero'])
    expect(report).toMatchObject({ state: 'succeeded', stdoutBytes: 30_000_007, stderrBytes: 2 })
    const stdout = await readFile(node.paths.stdout(report.id, 1))
    expect(stdout.equals(Buffer.concat([Buffer.from([0xff, 0, 0x61]), Buffer.from('b\nc\n'), Buffer.alloc(30_000_000)]))).toBe(true)
    expect(await node.stderr(report)).toBe('c\n')
  })

  it('cuts endless output with a mark, and fills no disk of the node', async () => {
    const order = await node.start(['yes'], { maxOutputBytes: 100_000 })
    await node.untilPrinted(order, 'limit set by logs.max_bytes')
    const sizes = await Promise.all(outputChannels.map(async (channel) => (await stat(node.files(order).output(channel))).size))
    expect(sizes).toEqual([100_001, 0])
    await node.tasks.kill(order)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'killed' })
    const stdout = await node.stdout(order)
    expect(stdout.startsWith('y\n'.repeat(50_000))).toBe(true)
    expect(stdout.slice(100_000).match(/limit set/g)).toHaveLength(1)
  })

  it.each([[1], [42], [255], [137]])('reports exit code %i', async (exitCode) => {
    const report = await node.run(['sh', '-c', `exit ${exitCode}`])
    expect(report).toMatchObject({ state: 'failed', reason: 'exited', exitCode })
  })

  it('reports a signal as a shell does', async () => {
    expect(await node.run(['sh', '-c', 'kill -9 $$'])).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 137 })
    expect(await node.run(['sh', '-c', 'kill -15 $$'])).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 143 })
  })

  it.each([
    ['no-such-command', 127],
    ['/no/such/path', 127],
    ['/etc', 126],
    ['/etc/passwd', 126],
  ])('tells that %s can not be run', async (command, exitCode) => {
    const report = await node.run([command, 'x'])
    expect(report).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode })
    expect(report.message).toContain(command)
  })

  it('gives nothing to a shell that the kernel does not execute itself', async () => {
    const script = join(node.root, 'script')
    await writeFile(script, `touch ${join(node.root, 'executed')}\n`)
    await chmod(script, 0o755)
    expect(await node.run([script])).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode: 126 })
    expect(await readdir(node.root)).not.toContain('executed')
    await writeFile(script, '#!/no/such/interpreter\n')
    expect(await node.run([script])).toMatchObject({ state: 'failed', reason: 'command_not_found', exitCode: 127 })
  })

  it('finds programs as a shell does', async () => {
    const [first, second] = [join(node.root, 'first'), join(node.root, 'second')]
    for (const directory of [first, second]) await mkdir(directory)
    await writeFile(join(first, 'tool'), '#!/bin/sh\necho first\n')
    await writeFile(join(second, 'tool'), '#!/bin/sh\necho "$0"\n')
    await chmod(join(second, 'tool'), 0o755)
    const env = { PATH: `${first}:${second}:/usr/bin:/bin` }
    expect(await node.stdout(await node.run(['tool'], { env }))).toBe(`${join(second, 'tool')}\n`)
    expect(await node.stdout(await node.run(['./tool'], { env, workdir: second }))).toBe(`${join(second, 'tool')}\n`)
  })

  it('ends the whole tree of a killed task, whoever began a session of its own', async () => {
    const order = await node.start(['sh', '-c', 'echo $$; (sleep 1000 & echo $!); setsid sh -c "setsid sleep 1000 & echo \\$!; echo all; exec sleep 1000"'], { signal: 'SIGKILL' })
    await node.untilPrinted(order, 'all')
    await node.tasks.kill(order)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'killed', reason: 'user', exitCode: 137 })
    const pids = (await printedPids(order)).slice(0, -1)
    expect(pids).toHaveLength(3)
    expect(pids.filter(runs)).toEqual([])
  })

  it('sends the signal that was chosen, and SIGKILL after the grace', async () => {
    const polite = await node.start(['sh', '-c', 'trap "echo bye; exit 3" USR1; echo ready; while :; do sleep 0.05; done'], { signal: 'SIGUSR1' })
    await node.untilPrinted(polite, 'ready')
    await node.tasks.kill(polite)
    expect(await node.untilFinal(polite)).toMatchObject({ state: 'killed', exitCode: 3 })
    expect(await node.stdout(polite)).toContain('bye')

    const stubborn = await node.start(['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 0.05; done'], { graceSeconds: 0.2 })
    await node.untilPrinted(stubborn, 'ready')
    await node.tasks.kill(stubborn)
    expect(await node.untilFinal(stubborn)).toMatchObject({ state: 'killed', exitCode: 137 })
  })

  it('is over with its first process: what that left is ended', async () => {
    const report = await node.run(['sh', '-c', 'setsid sleep 1000 > /dev/null 2>&1 & echo $!; sleep 1000 & echo $!'])
    expect(report).toMatchObject({ state: 'succeeded', exitCode: 0 })
    expect((await printedPids(report)).filter(runs)).toEqual([])
  })

  it('pauses and goes on', async () => {
    const order = await node.start(['sh', '-c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done'])
    await node.untilPrinted(order, '5\n')
    expect(await node.tasks.pause(order)).toMatchObject({ state: 'paused' })
    const frozen = () => scopeOf(node.files(order))?.isFrozen()
    expect(frozen()).toBe(true)
    expect(await node.tasks.resume(order)).toMatchObject({ state: 'running' })
    expect(frozen()).toBe(false)
    const { size } = await stat(node.files(order).output('stdout'))
    await node.untilPrinted(order, `${size}\n`)
    await node.tasks.pause(order)
    await node.tasks.kill(order)
    expect(await node.untilFinal(order)).toMatchObject({ state: 'killed' })
  })

  it('ends a task that runs for too long', async () => {
    const report = await node.run(['sleep', '1000'], { timeLimitSeconds: 0.3 })
    expect(report).toMatchObject({ state: 'timed_out', reason: 'time_limit', exitCode: 143 })
  })

  it('leaves nothing once its end is known to the Host', async () => {
    const report = await node.run(['true'])
    node.tasks.acknowledge([report])
    await node.tasks.settled()
    await expect(stat(node.files(report).directory)).rejects.toThrow(/ENOENT/)
  })
})
