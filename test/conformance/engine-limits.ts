import { expect, it } from 'vitest'
import { type EngineBench, outputOf } from './engine-bench.ts'

const SLEEP = ['/bin/sleep', 'infinity']
const read = (...files: string[]) => ['/bin/sh', '-c', `cat ${files.map((file) => `/sys/fs/cgroup/${file}`).join(' 2>/dev/null || cat ')}`]

/** What containers may have of their machine, and how they are ended. */
export function limitCases(use: () => EngineBench): void {
  it('run as who they are told, where they are told', async () => {
    const { engine, run } = use()
    const command = ['/bin/sh', '-c', 'echo "$(id -u):$(id -g) $(pwd)"']
    expect((await outputOf(engine, await run(command, { user: '1234:567', workdir: '/made/for/it' }))).stdout).toBe('1234:567 /made/for/it\n')
    expect((await outputOf(engine, await run(command, { user: '1234' }))).stdout).toBe('1234:0 /\n')
  })

  it('have the CPUs and NUMA nodes that they are told', async () => {
    const { engine, run } = use()
    const { stdout } = await outputOf(engine, await run(['/bin/sh', '-c', 'grep -E "^(Cpus|Mems)_allowed_list" /proc/self/status'], { cpus: '1', memoryNodes: '0' }))
    expect(stdout.replaceAll(/\s+/g, ' ')).toBe('Cpus_allowed_list: 1 Mems_allowed_list: 0 ')
  })

  it('are not made with CPUs that there are not', async () => {
    const { create } = use()
    await expect(create(SLEEP, { cpus: '4000' })).rejects.toMatchObject({ code: 'engine.invalid' })
  })

  it('have no more memory by swapping', async () => {
    const { engine, run } = use()
    const limits = await outputOf(engine, await run(['/bin/sh', '-c', 'cd /sys/fs/cgroup; cat memory/memory.memsw.limit_in_bytes 2>/dev/null || { cat memory.max memory.swap.max; }'], { memoryBytes: 32 * 2 ** 20 }))
    expect([`${32 * 2 ** 20}\n`, `${32 * 2 ** 20}\n0\n`]).toContain(limits.stdout)
  })

  it('get other limits while they run', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/sh', '-c', `until [ -e /tmp/go ]; do sleep 0.05; done; ${read('memory/memory.limit_in_bytes', 'memory.max')[2]}`], { memoryBytes: 16 * 2 ** 20, cores: 1 })
    await engine.limitContainer(id, { memoryBytes: 48 * 2 ** 20, cores: 2 })
    await engine.exec(id, { command: ['/bin/touch', '/tmp/go'], tty: false })
    expect((await outputOf(engine, id)).stdout).toBe(`${48 * 2 ** 20}\n`)
  })

  it('are refused devices of a driver that the Engine does not have, at the latest when they start', async () => {
    const { engine, create } = use()
    for (const devices of [{ driver: 'nvidia', ids: ['GPU-00000000-0000-0000-0000-000000000000'] }, { driver: 'cdi', ids: ['nvidia.com/gpu=GPU-00000000'] }] as const) {
      const attempt = create(SLEEP, { devices: { ...devices, ids: [...devices.ids] } }).then((id) => engine.startContainer(id))
      await expect(attempt).rejects.toMatchObject({ name: 'HakuError', message: expect.stringMatching(/device driver|CDI|nvidia/i) as string })
    }
  })

  it('get the signals that are sent', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/sh', '-c', 'trap "exit 9" USR1; echo up; while :; do sleep 0.05; done'])
    for await (const piece of await engine.readLogs(id, { follow: true })) if (String(piece).includes('up')) break
    expect((await engine.inspectContainer(id))?.pid).toBeGreaterThan(0)
    await engine.signalContainer(id, 'SIGUSR1')
    expect(await engine.waitContainer(id)).toBe(9)
    expect((await engine.inspectContainer(id))?.pid).toBe(0)
    await expect(engine.signalContainer(id, 'SIGKILL')).rejects.toMatchObject({ code: 'container.not_running' })
    await expect(engine.signalContainer('hk-no-such-container', 'SIGKILL')).rejects.toMatchObject({ code: 'container.not_found' })
  })

  it('keep no more of their output than they may', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/sh', '-c', 'yes abcdefghijklmnopqrstuvwxyz | head -n 5000000; echo last'], { logBytes: 1 })
    await engine.waitContainer(id)
    const { stdout } = await outputOf(engine, id)
    expect(stdout.length).toBeLessThan(110e6)
    expect(stdout.endsWith('last\n')).toBe(true)
  })
}
