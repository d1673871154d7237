import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createId } from '#core/ids.ts'
import { type EngineBench, outputOf } from './engine-bench.ts'

const SLEEP = ['/bin/sleep', 'infinity']

export function containerCases(use: () => EngineBench): void {
  it('get their arguments untouched', async () => {
    const { engine, run } = use()
    const words = ['a b', '$HOME', '"', "it's", '', '*', 'ünï\ncode', '\\', '-x']
    const id = await run(['/bin/sh', '-c', String.raw`for word; do printf '%s\0' "$word"; done`, 'sh', ...words])
    expect((await outputOf(engine, id)).stdout).toBe(words.map((word) => `${word}\0`).join(''))
  })

  it('run only the given command, whatever ENTRYPOINT and CMD the image has', async () => {
    const { engine, create, run, imageName } = use()
    const { repository, reference } = imageName()
    // The command of a container becomes the entrypoint of the image that is made from it.
    await engine.commitContainer(await create(['/bin/echo', 'wrong']), { repository, tag: 'one', author: '', comment: '' })
    const id = await run(['/bin/echo'], { image: reference })
    expect(await outputOf(engine, id)).toEqual({ exitCode: 0, stdout: '\n', stderr: '' })
  })

  it('have environment, working directory, host name and labels', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/sh', '-c', 'echo "$GREETING|$(pwd)|$(hostname)"'], { env: { GREETING: 'a=b "c"' }, workdir: '/tmp', hostname: 'my-env', labels: { 'some.label': 'x' } })
    expect((await outputOf(engine, id)).stdout).toBe('a=b "c"|/tmp|my-env\n')
    expect(await engine.inspectContainer(id)).toMatchObject({ hostname: 'my-env', labels: { 'some.label': 'x' }, status: 'exited', exitCode: 0, restartCount: 0, outOfMemory: false, error: '' })
  })

  it('see mounts, and can not write to those that are read-only', async () => {
    const { engine, run } = use()
    const directory = mkdtempSync(join(tmpdir(), 'hakuriver-mount-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    writeFileSync(join(directory, 'in'), 'from outside')
    const mounts = [{ source: directory, target: '/rw', readOnly: false }, { source: directory, target: '/ro', readOnly: true }]
    const id = await run(['/bin/sh', '-c', 'cat /ro/in; touch /rw/out; touch /ro/no && echo written'], { mounts })
    expect((await outputOf(engine, id)).stdout).toBe('from outside')
    expect([existsSync(join(directory, 'out')), existsSync(join(directory, 'no'))]).toEqual([true, false])
  })

  it('are not made with a mount of something that does not exist', async () => {
    const { create } = use()
    const source = join(tmpdir(), `hakuriver-absent-${createId()}`)
    await expect(create(SLEEP, { mounts: [{ source, target: '/x', readOnly: false }] })).rejects.toMatchObject({ code: 'engine.invalid' })
    expect(existsSync(source)).toBe(false)
  })

  it('are never made by a pull', async () => {
    const { create } = use()
    await expect(create(SLEEP, { image: 'hk-no-such-image:ever' })).rejects.toMatchObject({ code: 'image.not_found' })
    await expect(create(SLEEP, { image: 'Not A Reference' })).rejects.toMatchObject({ code: 'image.reference_invalid' })
  })

  it('have one name each', async () => {
    const { engine, create, prefix } = use()
    const name = `${prefix}-taken`
    const id = await create(SLEEP, { name })
    await expect(create(SLEEP, { name })).rejects.toMatchObject({ code: 'container.name_taken' })
    expect((await engine.inspectContainer(name))?.id).toBe(id)
  })

  it.each(['hk-no-such-container', '../images', '..', 'a/b', 'x?y', '%2e%2e'])('are not found as %s', async (name) => {
    const { engine } = use()
    expect(await engine.inspectContainer(name)).toBeUndefined()
    await expect(engine.startContainer(name)).rejects.toMatchObject({ code: 'container.not_found' })
    await expect(engine.stopContainer(name, 1)).rejects.toMatchObject({ code: 'container.not_found' })
    await expect(engine.waitContainer(name)).rejects.toMatchObject({ code: 'container.not_found' })
    await expect(engine.attachOutput(name)).rejects.toMatchObject({ code: 'container.not_found' })
    await expect(engine.readLogs(name, { follow: true })).rejects.toMatchObject({ code: 'container.not_found' })
    await engine.removeContainer(name)
  })

  it('start and stop as often as one likes, under an init that passes signals on', async () => {
    const { engine, run } = use()
    const id = await run(SLEEP, { keepRunning: true })
    await engine.startContainer(id)
    expect(await engine.inspectContainer(id)).toMatchObject({ status: 'running', finished: null })
    await engine.stopContainer(id, 30)
    await engine.stopContainer(id, 30)
    // 128 + SIGTERM: it was not killed.
    expect(await engine.inspectContainer(id)).toMatchObject({ status: 'exited', exitCode: 143 })
    await engine.startContainer(id)
    expect((await engine.inspectContainer(id))?.status).toBe('running')
  })

  it('that do not listen are killed after the grace time', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 1; done'])
    for await (const piece of await engine.readLogs(id, { follow: true })) if (String(piece).includes('deaf')) break
    await engine.stopContainer(id, 0.5)
    expect(await engine.inspectContainer(id)).toMatchObject({ status: 'exited', exitCode: 137 })
  })

  it('can be paused', async () => {
    const { engine, run } = use()
    const id = await run(SLEEP)
    await engine.pauseContainer(id)
    expect((await engine.inspectContainer(id))?.status).toBe('paused')
    await expect(engine.exec(id, { command: ['/bin/true'], tty: false })).rejects.toMatchObject({ code: 'container.not_running' })
    await engine.unpauseContainer(id)
    expect((await engine.inspectContainer(id))?.status).toBe('running')
  })

  it('whose program does not exist say so', async () => {
    const { engine, run } = use()
    // It is the init that starts it, so the container itself does start.
    const output = await outputOf(engine, await run(['/no/such/program']))
    expect(output.exitCode).toBe(127)
    expect(output.stderr).toContain('/no/such/program')
  })

  it('that can not start say so', async () => {
    const { engine, create } = use()
    const id = await create(SLEEP, { network: 'container:hk-no-such-container' })
    await expect(engine.startContainer(id)).rejects.toMatchObject({ name: 'HakuError', message: expect.stringContaining('hk-no-such-container') as string })
    expect(await engine.inspectContainer(id)).toMatchObject({ status: 'created', started: null })
  })

  it('can be waited for', async () => {
    const { engine, create, run } = use()
    const id = await run(['/bin/sh', '-c', 'exit 42'])
    expect(await engine.waitContainer(id)).toBe(42)
    expect(await engine.waitContainer(id)).toBe(42)
    expect(await engine.waitContainer(await create(SLEEP))).toBe(0)
  })

  it('can be waited for until one gives up', async () => {
    const { engine, run } = use()
    const controller = new AbortController()
    const waiting = engine.waitContainer(await run(SLEEP), { signal: controller.signal })
    controller.abort(new Error('given up'))
    await expect(waiting).rejects.toThrow('given up')
  })

  it('are gone once removed, by one or by many', async () => {
    const { engine, run } = use()
    const id = await run(SLEEP)
    const waiting = engine.waitContainer(id)
    await Promise.all([engine.removeContainer(id), engine.removeContainer(id), engine.removeContainer(id)])
    expect(await engine.inspectContainer(id)).toBeUndefined()
    expect(await waiting).toBe(137)
    await engine.removeContainer(id)
  })

  it('are listed by their labels, stopped ones too', async () => {
    const { engine, create, run, prefix, image } = use()
    const label = `${prefix}.label`
    const stopped = await create(SLEEP, { labels: { [label]: 'a' } })
    const running = await run(SLEEP, { labels: { [label]: 'b', other: 'c' } })
    await create(SLEEP)
    const found = await engine.listContainers({ [label]: undefined })
    expect(found.map(({ id, status }) => [id, status]).toSorted()).toEqual([[stopped, 'created'], [running, 'running']].toSorted())
    expect(found.every((container) => container.image === image && container.name.startsWith(prefix) && !Number.isNaN(Date.parse(container.created)))).toBe(true)
    expect(await engine.listContainers({ [label]: 'b', other: undefined })).toHaveLength(1)
    expect(await engine.listContainers({ [label]: 'b', ghost: undefined })).toEqual([])
  })

  it('keep the reference they were made from when its tag moves on', async () => {
    const { engine, create, imageName, prefix, forgetLater } = use()
    const { repository, reference } = imageName()
    const commit = { repository, tag: 'one', author: '', comment: '' }
    const source = await create(SLEEP)
    const first = await engine.commitContainer(source, commit)
    const label = `${prefix}.moved`
    const id = await create(SLEEP, { image: reference, labels: { [label]: '' } })
    await engine.commitContainer(source, { ...commit, comment: 'another image' })
    forgetLater(first)
    expect((await engine.listContainers({ [label]: undefined }))[0]).toMatchObject({ id, image: reference })
    expect(await engine.inspectContainer(id)).toMatchObject({ image: reference, imageId: first })
  })

  it('are held to their memory', async () => {
    const { engine, run } = use()
    // Engines lose the kernel's report now and then on a busy machine, and for sure if the container ends with the process that was killed (seen with 28).
    const flags: (boolean | undefined)[] = []
    for (let attempt = 0; attempt < 5 && !flags.includes(true); attempt += 1) {
      const id = await run(['/bin/sh', '-c', 'tail -c 500000000 /dev/zero; code=$?; sleep 1; exit $code'], { memoryBytes: 16 * 2 ** 20, logs: 'none' })
      expect(await engine.waitContainer(id)).toBe(137)
      flags.push((await engine.inspectContainer(id))?.outOfMemory)
    }
    expect(flags).toContain(true)
  })
}
