import { createHash } from 'node:crypto'
import type { Container, CreateContainerBody, Operation } from '#core/api/schemas.ts'
import type { ContainerDetails, ContainerSpec, ContainerSummary, Engine } from '#core/engine/engine.ts'
import { IDLE_COMMAND } from '#core/engine/idle.ts'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { labels } from '#core/paths.ts'
import type { Mount } from '#core/tasks/mounts.ts'
import type { OperationContext, Operations } from '../operations/operations.ts'
import { resolveUserMounts } from './mounts.ts'
import { removeOwnImage } from './own-image.ts'
import type { CreateUndo } from './recovery.ts'
import { assertImageReference } from './references.ts'

/** The persistent containers of environments. Only containers with our label exist for it. */
export interface Containers {
  list(): Promise<Container[]>
  /** @throws `container.not_found` */
  get(name: string): Promise<Container>
  /** The Engine's view of it. @throws `container.not_found` */
  find(name: string): Promise<ContainerDetails>
  /** @throws `container.exists`, `container.name_taken`, `image.reference_invalid`, `environment.busy` */
  create(body: CreateContainerBody): Promise<Operation>
  start(name: string): Promise<Container>
  stop(name: string): Promise<Container>
  remove(name: string): Promise<void>
}

export interface ContainersOptions {
  engine: Engine
  operations: Operations
  allowedMounts: readonly string[]
}

/** What does not stay up dies within this time. */
const SETTLE_MS = 300
/** What is started again and again ends again within this time. */
const NEXT_END_MS = 2000
export const STOP_GRACE_SECONDS = 10

export function createContainers({ engine, operations, allowedMounts }: ContainersOptions): Containers {
  async function find(name: string): Promise<ContainerDetails> {
    const found = await engine.inspectContainer(name)
    if (!isOurs(found, name)) {
      throw new HakuError('container.not_found', `The environment ${quote(name)} has no container. See "hakuriver.docker list-containers", or create it with "hakuriver.docker create-container IMAGE ${name}".`)
    }
    return found
  }

  async function change(name: string, action: (container: ContainerDetails) => Promise<void>): Promise<Container> {
    return operations.exclusively(name, async () => {
      const container = await find(name)
      await action(container)
      return toContainer(await find(name))
    })
  }

  async function build(body: CreateContainerBody, mounts: Mount[], context: OperationContext): Promise<Container> {
    await ensureImage(engine, body, context)
    await createIdle(engine, { body, mounts, context, undo: { name: body.name } })
    return toContainer(await find(body.name))
  }

  return {
    find,
    async list() {
      const found = await engine.listContainers({ [labels.container]: undefined })
      return found.filter((container) => isOurs(container, container.name)).map(toContainer).sort((left, right) => left.name.localeCompare(right.name))
    },
    async get(name) {
      return toContainer(await find(name))
    },
    async create(body) {
      assertImageReference(body.image)
      const mounts = await resolveUserMounts(body.mounts, allowedMounts)
      const existing = await engine.inspectContainer(body.name)
      if (existing) {
        assertSame(existing, body)
        return operations.start('create_container', body.name, async () => toContainer(await find(body.name)))
      }
      return operations.start('create_container', body.name, (context) => build(body, mounts, context))
    },
    start: (name) => change(name, ({ id }) => engine.startContainer(id)),
    stop: (name) => change(name, ({ id }) => engine.stopContainer(id, STOP_GRACE_SECONDS)),
    async remove(name) {
      await operations.exclusively(name, async () => {
        const { id, labels: found } = await find(name)
        await engine.removeContainer(id)
        await removeOwnImage(engine, found[labels.image])
      })
    },
  }
}

/** Whether HakuRiver made this container for this environment. Task containers inherit image labels, so the name counts too. */
export function isOurs<T extends ContainerSummary>(container: T | undefined, name: string): container is T {
  return container !== undefined && container.name === name && container.labels[labels.container] === name
}

export interface IdleContainer {
  /** What of it counts: name, image, environment variables and mounts. */
  body: CreateContainerBody
  mounts: Mount[]
  context: OperationContext
  /** Stored until the container stands, for a start after a crash. */
  undo: CreateUndo
}

/** Creates and starts a persistent container that stays up; removes it again if it does not. */
export async function createIdle(engine: Engine, { body, mounts, context, undo }: IdleContainer): Promise<void> {
  await context.report({ phase: 'create' })
  await context.setUndo(undo)
  let id: string | undefined
  try {
    id = await engine.createContainer(specOf(body, mounts, undo.ownImage))
    await startAndSettle(engine, id, body, context)
  } catch (error) {
    if (id !== undefined) await engine.removeContainer(id)
    await removeOwnImage(engine, undo.ownImage)
    await context.setUndo(null)
    throw error
  }
  await context.setUndo(null)
}

/** Throws what keeps a new container from having this name. */
export async function assertNameFree(engine: Engine, name: string): Promise<void> {
  const existing = await engine.inspectContainer(name)
  if (!existing) return
  if (!isOurs(existing, name)) throw nameTaken(name)
  throw new HakuError('container.exists', `The environment ${quote(name)} already has a container, made from ${quote(existing.image)}. Choose another name; or delete it first with "hakuriver.docker delete-container ${name}".`)
}

// --- internal ---

function nameTaken(name: string): HakuError {
  return new HakuError('container.name_taken', `A container named ${quote(name)} exists on the Host and is not of HakuRiver. Choose another name, or remove it with docker.`)
}

function assertSame(existing: ContainerDetails, body: CreateContainerBody): void {
  if (!isOurs(existing, body.name)) throw nameTaken(body.name)
  const isSame = existing.image === body.image && existing.labels[labels.options] === optionsDigest(body)
  if (body.ifNotExists && isSame) return
  const cure = body.ifNotExists ? 'It was made with another image or other options' : 'Give --if-not-exists if that is fine'
  throw new HakuError('container.exists', `The environment ${quote(body.name)} already has a container, made from ${quote(existing.image)}. ${cure}; or delete it first with "hakuriver.docker delete-container ${body.name}".`)
}

function specOf(body: CreateContainerBody, mounts: Mount[], ownImage: string | undefined): ContainerSpec {
  return {
    name: body.name,
    image: body.image,
    command: IDLE_COMMAND,
    env: body.env,
    labels: { [labels.container]: body.name, [labels.options]: optionsDigest(body), ...(ownImage !== undefined && { [labels.image]: ownImage }) },
    mounts,
    hostname: body.name,
    keepRunning: true,
    logs: 'none',
  }
}

function optionsDigest({ image, env, mounts }: CreateContainerBody): string {
  const sorted = Object.entries(env).sort(([left], [right]) => (left < right ? -1 : 1))
  return createHash('sha256').update(JSON.stringify([image, sorted, mounts])).digest('hex')
}

async function ensureImage(engine: Engine, body: CreateContainerBody, context: OperationContext): Promise<void> {
  if (!body.pull && (await engine.inspectImage(body.image))) return
  await context.report({ phase: 'pull', message: body.image })
  await engine.pullImage(body.image, {
    signal: context.signal,
    onProgress: ({ bytes, totalBytes, message }) => void context.report({ phase: 'pull', bytes, totalBytes, message }),
  })
}

async function startAndSettle(engine: Engine, id: string, body: CreateContainerBody, context: OperationContext): Promise<void> {
  await context.report({ phase: 'start' })
  context.signal.throwIfAborted()
  try {
    await engine.startContainer(id)
  } catch (error) {
    if (error instanceof HakuError && /no such file|not found|executable/i.test(error.message)) {
      throw noShell(body, error)
    }
    throw error
  }
  await context.report({ phase: 'verify' })
  const ended = await exitWithin(SETTLE_MS, engine, id, context)
  context.signal.throwIfAborted()
  // An Engine starts what has ended again and again, as the restart policy says, and then nothing ever stops running.
  const found = await engine.inspectContainer(id)
  if (!found) throw new HakuError('container.exited', `The new container of ${quote(body.image)} is gone. Was it removed by another program? Create it again.`)
  if (ended === undefined && found.status === 'running' && found.restartCount === 0) return
  // One that runs at this moment, but not for the first time, soon tells how it ends.
  const exitCode = ended ?? (found.status === 'running' ? await exitWithin(NEXT_END_MS, engine, id, context) : found.exitCode)
  if (exitCode !== undefined && NOT_RUNNABLE.includes(exitCode)) throw noShell(body)
  throw new HakuError('container.exited', `A container of ${quote(body.image)} does not stay up: its idle process ended at once${exitCode === undefined ? '' : ` with code ${exitCode}`}. Is the image for this machine's architecture, and does it have "sleep"?`)
}

/** How the Engine's init ends when it can not run what it should: not executable, and not found. */
const NOT_RUNNABLE: readonly number[] = [126, 127]

function noShell({ image }: CreateContainerBody, cause?: unknown): HakuError {
  return new HakuError('container.no_shell', `The image ${quote(image)} has no /bin/sh that can be run, so nobody could work in it. Choose an image with a shell.`, { cause })
}

/** The exit code of a container that ends within this time; `undefined` if it runs on. */
async function exitWithin(ms: number, engine: Engine, id: string, context: OperationContext): Promise<number | undefined> {
  const settled = new AbortController()
  const timer = setTimeout(() => settled.abort(), ms)
  try {
    return await engine.waitContainer(id, { signal: AbortSignal.any([context.signal, settled.signal]) })
  } catch (error) {
    context.signal.throwIfAborted()
    if (settled.signal.aborted) return undefined
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** The container as the API shows it. */
function toContainer({ id, name, image, status, created }: ContainerSummary): Container {
  return { id, name, image, status, created }
}
