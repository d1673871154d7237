import { runnerApi, type RunnerApi } from '#core/api/runner.ts'
import type { VersionOrder } from '#core/api/schemas.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { HakuError } from '#core/errors.ts'
import { outputHeaders } from '#core/tasks/output-file.ts'
import type { NodeRecord } from '../nodes/nodes.ts'
import type { Dispatcher } from './dispatcher.ts'

const ANSWER_TIMEOUT_MS = 15_000
/** To one node, for what is answered at once: with hundreds of nodes more of them would take more memory than all else. */
const CONNECTIONS = 2
/** How often the progress of a prefetch is seen. */
const PREFETCH_WAIT_SECONDS = 1

/** Dispatch to our own Runners, over the contract of `core/api/runner.ts`. */
export function createRunnerDispatcher(findNode: (hostname: string) => NodeRecord | undefined): Dispatcher {
  const clients = new Map<string, NodeClients>()

  function clientsOf(hostname: string): NodeClients {
    const node = findNode(hostname)
    if (!node) throw new HakuError('node.not_found', `There is no node ${hostname}.`)
    const key = `${node.url} ${node.hostToken}`
    const known = clients.get(hostname)
    if (known?.key === key) return known
    if (known) close(known)
    const options = { api: runnerApi, url: node.url, token: node.hostToken, peer: hostname, unreachable: 'node.unreachable' } as const
    const made = { key, quick: createClient({ ...options, connections: CONNECTIONS }), long: createClient(options) }
    clients.set(hostname, made)
    return made
  }

  const control = (action: 'killTask' | 'pauseTask' | 'resumeTask'): Dispatcher['kill'] => async (node, { id, instance }) =>
    clientsOf(node).quick.call(action, { params: { id }, body: { instance }, timeoutMs: ANSWER_TIMEOUT_MS })

  return {
    run: async (node, order) => clientsOf(node).quick.call('putTask', { params: { id: order.id }, body: order, timeoutMs: ANSWER_TIMEOUT_MS }),
    kill: control('killTask'),
    pause: control('pauseTask'),
    resume: control('resumeTask'),
    async readOutput(node, { id, ...query }, signal) {
      const answer = await clientsOf(node).long.stream('getTaskOutput', { params: { id }, query, signal, timeoutMs: ANSWER_TIMEOUT_MS })
      return { offset: Number(answer.headers[outputHeaders.offset] ?? query.offset), bytes: answer }
    },
    prefetch: async (node, order, signal) => clientsOf(node).long.call('putImage', { params: versionOf(order), query: { wait: PREFETCH_WAIT_SECONDS }, body: order, signal, timeoutMs: ANSWER_TIMEOUT_MS + 1000 * PREFETCH_WAIT_SECONDS }),
    cancelPrefetch: async (node, order) => clientsOf(node).quick.call('cancelImage', { params: versionOf(order), timeoutMs: ANSWER_TIMEOUT_MS }),
    close() {
      for (const known of clients.values()) close(known)
    },
  }
}

// --- internal ---

interface NodeClients {
  /** Where it is, and what it wants to be shown. */
  key: string
  /** For what is answered at once. */
  quick: Client<RunnerApi>
  /** For what takes as long as it takes: nothing quick waits behind it. */
  long: Client<RunnerApi>
}

function close({ quick, long }: NodeClients): void {
  quick.close()
  long.close()
}

function versionOf({ environment, version }: VersionOrder) {
  return { environment, version: String(version) }
}
