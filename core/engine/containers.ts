import { z } from 'zod'
import { HakuError, isHakuError } from '../errors.ts'
import { printable, quote } from '../names.ts'
import { readAnswer } from './answers.ts'
import type { ContainerDetails, ContainerSpec, ContainerStatus, ContainerSummary, Engine } from './engine.ts'
import { segment, type Transport } from './transport.ts'

type ContainerCalls = Pick<Engine, 'createContainer' | 'inspectContainer' | 'listContainers' | 'startContainer' | 'stopContainer' | 'signalContainer' | 'limitContainer' | 'pauseContainer' | 'unpauseContainer' | 'removeContainer' | 'waitContainer' | 'attachOutput' | 'readLogs' | 'commitContainer'>

const status = z.enum(['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'])
const labelMap = z.record(z.string(), z.string()).nullish()
const idAnswer = z.object({ Id: z.string() })
const waitAnswer = z.object({ StatusCode: z.number(), Error: z.object({ Message: z.string().optional() }).nullish() })
const listAnswer = z.array(z.object({ Id: z.string(), Names: z.array(z.string()), Image: z.string(), State: status, Created: z.number(), Labels: labelMap }))
const inspectAnswer = z.object({
  Id: z.string(),
  Name: z.string(),
  Created: z.string(),
  Image: z.string(),
  RestartCount: z.number().nullish(),
  State: z.object({ Status: status, ExitCode: z.number(), Pid: z.number(), OOMKilled: z.boolean(), Error: z.string().nullish(), StartedAt: z.string(), FinishedAt: z.string() }),
  Config: z.object({ Image: z.string(), Hostname: z.string().nullish(), Env: z.array(z.string()).nullish(), Labels: labelMap }),
  GraphDriver: z.object({ Name: z.string(), Data: z.record(z.string(), z.string()).nullish() }).nullish(),
})

/** What of the {@link Engine} is about containers. */
export function containerCalls(transport: Transport): ContainerCalls {
  const post = (id: string, verb: string, what: string, query?: Record<string, string | number | boolean>) =>
    transport.call({ method: 'POST', path: `/containers/${segment(id)}/${verb}`, what: `${what} the container ${quote(id)}`, ...(query && { query }) })

  const calls: ContainerCalls = {
    async createContainer(spec) {
      const what = `create the container ${quote(spec.name)}`
      return readAnswer(idAnswer, await transport.call({ method: 'POST', path: '/containers/create', what, query: { name: spec.name }, body: toCreateBody(spec) }), what).Id
    },

    async inspectContainer(idOrName) {
      const what = `inspect the container ${quote(idOrName)}`
      try {
        return toDetails(readAnswer(inspectAnswer, await transport.call({ method: 'GET', path: `/containers/${segment(idOrName)}/json`, what }), what))
      } catch (error) {
        if (isHakuError(error, 'container.not_found')) return undefined
        throw error
      }
    },

    async listContainers(wanted) {
      const filters = { label: Object.entries(wanted).map(([key, value]) => (value === undefined ? key : `${key}=${value}`)) }
      const what = 'list the containers'
      const answer = await transport.call({ method: 'GET', path: '/containers/json', what, query: { all: true, filters: JSON.stringify(filters) } })
      return Promise.all(readAnswer(listAnswer, answer, what).map(async (item) => {
        const summary = toSummary(item)
        // Once the tag names another image the list has the bare id: only the container itself still knows the reference.
        return IMAGE_ID_RE.test(item.Image) ? { ...summary, image: (await calls.inspectContainer(item.Id))?.image ?? item.Image } : summary
      }))
    },

    // 304, "is so already", is a good answer to both.
    startContainer: async (id) => void (await post(id, 'start', 'start')),
    stopContainer: async (id, graceSeconds) => void (await post(id, 'stop', 'stop', { t: Math.ceil(graceSeconds) })),
    async limitContainer(id, limits) {
      await transport.call({ method: 'POST', path: `/containers/${segment(id)}/update`, what: `limit the container ${quote(id)}`, body: toLimits(limits) })
    },
    signalContainer: async (id, signal) => void (await post(id, 'kill', `send ${signal} to`, { signal })),
    pauseContainer: async (id) => void (await post(id, 'pause', 'pause')),
    unpauseContainer: async (id) => void (await post(id, 'unpause', 'resume')),

    async removeContainer(id) {
      try {
        await transport.call({ method: 'DELETE', path: `/containers/${segment(id)}`, what: `remove the container ${quote(id)}`, query: { force: true, v: true } })
      } catch (error) {
        if (isHakuError(error, 'container.not_found')) return
        // Somebody else removes it at this moment: it is gone once that is over. Any other conflict would never be over.
        if (!isHakuError(error, 'engine.conflict') || !error.message.includes('already in progress')) throw error
        await waitRemoved(transport, id)
      }
    },

    async waitContainer(id, { signal } = {}) {
      const what = `wait for the container ${quote(id)}`
      const answer = readAnswer(waitAnswer, await transport.call({ method: 'POST', path: `/containers/${segment(id)}/wait`, what, query: { condition: 'not-running' }, signal }), what)
      if (answer.Error?.Message) throw new HakuError('engine.failed', `Could not ${what}. The Docker Engine says: ${printable(answer.Error.Message)}`)
      return answer.StatusCode
    },

    attachOutput: (id) =>
      transport.hijack({ method: 'POST', path: `/containers/${segment(id)}/attach`, what: `attach to the container ${quote(id)}`, query: { stream: true, stdout: true, stderr: true } }),

    readLogs: (id, { follow }) =>
      transport.open({ method: 'GET', path: `/containers/${segment(id)}/logs`, what: `read the output of the container ${quote(id)}`, query: { stdout: true, stderr: true, timestamps: true, follow } }),

    async commitContainer(id, { repository, tag, author, comment }) {
      const what = `commit the container ${quote(id)}`
      const query = { container: id, repo: repository, tag, author, comment, pause: false }
      return readAnswer(idAnswer, await transport.call({ method: 'POST', path: '/commit', what, query, body: {} }), what).Id
    },
  }
  return calls
}

// --- internal ---

const IMAGE_ID_RE = /^(?:sha256:)?[0-9a-f]{12,64}$/

const LOG_FILES = 100
const MAX_LOG_BYTES = 100e9
/** Smaller files would be turned over all the time. */
const MIN_LOG_FILE_BYTES = 1e6

/** `undefined`: as the Engine is configured. */
function logConfig({ logs, logBytes = MAX_LOG_BYTES }: ContainerSpec): { Type: string; Config: Record<string, string> } | undefined {
  if (logs === 'default') return undefined
  if (logs === 'none') return { Type: 'none', Config: {} }
  // The driver drops the oldest file when all are full: 100 GB are more than a node's disk should give to one task.
  const fileBytes = Math.ceil(Math.max(MIN_LOG_FILE_BYTES, Math.min(logBytes, MAX_LOG_BYTES) / LOG_FILES))
  return { Type: 'local', Config: { 'max-size': String(fileBytes), 'max-file': String(LOG_FILES), compress: 'false' } }
}

function toCreateBody(spec: ContainerSpec): Record<string, unknown> {
  const [program, ...args] = spec.command
  if (!program) throw new HakuError('task.command_invalid', `The container ${quote(spec.name)} has no command.`)
  const log = logConfig(spec)
  return {
    Image: spec.image,
    // An ENTRYPOINT of our own makes the Engine ignore both ENTRYPOINT and CMD of the image.
    Entrypoint: [program],
    Cmd: args,
    Env: Object.entries(spec.env).map(([key, value]) => `${key}=${value}`),
    Labels: spec.labels,
    Tty: false,
    ...(spec.hostname !== undefined && { Hostname: spec.hostname }),
    ...(spec.workdir !== undefined && { WorkingDir: spec.workdir }),
    ...(spec.user !== undefined && { User: spec.user }),
    HostConfig: {
      Init: true,
      ...(spec.network !== undefined && { NetworkMode: spec.network }),
      ...(spec.cpus !== undefined && { CpusetCpus: spec.cpus }),
      ...(spec.memoryNodes !== undefined && { CpusetMems: spec.memoryNodes }),
      ...toLimits(spec),
      ...(spec.pidsLimit !== undefined && { PidsLimit: spec.pidsLimit }),
      ...(spec.devices && { DeviceRequests: [{ Driver: spec.devices.driver, DeviceIDs: spec.devices.ids, ...(spec.devices.driver === 'nvidia' && { Capabilities: [['gpu']] }) }] }),
      ...(spec.privileged && { Privileged: true }),
      ...(spec.keepRunning && { RestartPolicy: { Name: 'unless-stopped' } }),
      ...(log && { LogConfig: log }),
      Mounts: spec.mounts.map(({ source, target, readOnly }) => ({ Type: 'bind', Source: source, Target: target, ReadOnly: readOnly })),
    },
  }
}

function toLimits({ cores, memoryBytes }: Pick<ContainerSpec, 'cores' | 'memoryBytes'>): Record<string, number> {
  return { ...(cores && { NanoCpus: Math.round(cores * 1e9) }), ...(memoryBytes !== undefined && { Memory: memoryBytes, MemorySwap: memoryBytes }) }
}

/** Docker's zero time means never. */
function toTime(text: string): string | null {
  return text.startsWith('0001-') ? null : new Date(text).toISOString()
}

function toSummary(item: z.infer<typeof listAnswer>[number]): ContainerSummary {
  const state: ContainerStatus = item.State
  return { id: item.Id, name: ownName(item.Names).replace(/^\//, ''), image: item.Image, status: state, created: new Date(item.Created * 1000).toISOString(), labels: item.Labels ?? {} }
}

/** A linked container has further names, `/other/alias`, in any order. */
function ownName(names: string[]): string {
  return names.find((name) => name.lastIndexOf('/') === 0) ?? names[0] ?? ''
}

function toDetails(found: z.infer<typeof inspectAnswer>): ContainerDetails {
  return {
    id: found.Id,
    name: found.Name.replace(/^\//, ''),
    image: found.Config.Image,
    imageId: found.Image,
    status: found.State.Status,
    created: new Date(found.Created).toISOString(),
    labels: found.Config.Labels ?? {},
    hostname: found.Config.Hostname ?? '',
    env: found.Config.Env ?? [],
    upperDir: found.GraphDriver?.Name === 'overlay2' ? found.GraphDriver.Data?.['UpperDir'] : undefined,
    exitCode: found.State.ExitCode,
    restartCount: found.RestartCount ?? 0,
    outOfMemory: found.State.OOMKilled,
    error: found.State.Error ?? '',
    pid: found.State.Pid,
    started: toTime(found.State.StartedAt),
    finished: toTime(found.State.FinishedAt),
  }
}

async function waitRemoved(transport: Transport, id: string): Promise<void> {
  try {
    await transport.call({ method: 'POST', path: `/containers/${segment(id)}/wait`, what: `wait for the removal of the container ${quote(id)}`, query: { condition: 'removed' } })
  } catch (error) {
    if (!isHakuError(error, 'container.not_found')) throw error
  }
}
