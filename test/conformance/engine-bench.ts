import type { Readable } from 'node:stream'
import { vi } from 'vitest'
import { demultiplex, type OutputChunk } from '#core/engine/demultiplex.ts'
import type { ContainerSpec, Engine, ExecSession } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'

/** What a conformance suite of engines works on. */
export interface EngineUnderTest {
  engine: Engine
  /** An image with the applets of busybox. */
  image: string
  close?(): Promise<void>
}

/** An Engine, and all that the tests make on it. */
export interface EngineBench extends EngineUnderTest {
  /** Begins all names of containers and images of this bench. */
  prefix: string
  create(command: string[], options?: Partial<ContainerSpec>): Promise<string>
  /** Creates and starts. */
  run(command: string[], options?: Partial<ContainerSpec>): Promise<string>
  /** A reference that is removed in the end. */
  imageName(): { repository: string; reference: string }
  /** An image id that is removed in the end. */
  forgetLater(image: string): void
  /** Removes all of it. Returns what would not go. */
  clear(): Promise<string[]>
}

export function createBench(target: EngineUnderTest): EngineBench {
  const { engine } = target
  const prefix = `hk-engine-${createId().toLowerCase()}`
  const containers: string[] = []
  const images: string[] = []
  let count = 0

  const create = async (command: string[], options: Partial<ContainerSpec> = {}) => {
    const spec: ContainerSpec = { name: `${prefix}-${++count}`, image: target.image, command, env: {}, labels: {}, mounts: [], network: 'none', logs: 'lossless', ...options }
    const id = await engine.createContainer(spec)
    containers.push(id)
    return id
  }
  return {
    ...target,
    prefix,
    create,
    async run(command, options) {
      const id = await create(command, options)
      await engine.startContainer(id)
      return id
    },
    imageName() {
      const repository = `${prefix}-${++count}`
      images.push(`${repository}:one`)
      return { repository, reference: `${repository}:one` }
    },
    forgetLater: (image) => void images.push(image),
    async clear() {
      for (const id of containers.splice(0)) await engine.removeContainer(id)
      for (const image of images.splice(0).toReversed()) await engine.removeImage(image)
      return (await engine.listContainers({})).map(({ name }) => name).filter((name) => name.startsWith(prefix))
    },
  }
}

export interface Output {
  stdout: Buffer
  stderr: Buffer
}

/** Both outputs in a multiplexed stream. */
export function readOutput(stream: Readable): Promise<Output> {
  return gather(demultiplex(stream))
}

/** Both outputs in an Engine's log. */
export function readLogged(stream: Readable): Promise<Output> {
  return gather(demultiplex(stream, { isLog: true }))
}

async function gather(chunks: AsyncIterable<OutputChunk>): Promise<Output> {
  const pieces: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  for await (const { channel, bytes } of chunks) pieces[channel].push(bytes)
  return { stdout: Buffer.concat(pieces.stdout), stderr: Buffer.concat(pieces.stderr) }
}

export async function readText(stream: Readable): Promise<{ stdout: string; stderr: string }> {
  const { stdout, stderr } = await readOutput(stream)
  return { stdout: stdout.toString(), stderr: stderr.toString() }
}

/** The output of a container from its log, once it has ended. */
export async function outputOf(engine: Engine, id: string): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const exitCode = await engine.waitContainer(id)
  const { stdout, stderr } = await readLogged(await engine.readLogs(id, { follow: false }))
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() }
}

/** The Engine notes the end a moment after the last byte. */
export function exitCodeOf(session: ExecSession): Promise<number> {
  return vi.waitFor(async () => {
    const exitCode = await session.exitCode()
    if (exitCode === undefined) throw new Error('it still runs')
    return exitCode
  }, { timeout: 10_000, interval: 20 })
}

