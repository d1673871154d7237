import { runnerApi, type RunnerApi } from '#core/api/runner.ts'
import type { VersionOrder } from '#core/api/schemas.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { HakuError } from '#core/errors.ts'
import { outputHeaders } from '#core/tasks/output-file.ts'
import type { NodeRecord } from '../nodes/nodes.ts'
import type { Dispatcher } from './dispatcher.ts'

const ANSWER_TIMEOUT_MS = 15_000
/** How often the progress of a prefetch is seen. */
const PREFETCH_WAIT_SECONDS = 1

/** Dispatch to our own Runners, over the contract of `core/api/runner.ts`. */
export function createRunnerDispatcher(findNode: (hostname: string) => NodeRecord | undefined): Dispatcher {
  const clients = new Map<string, { key: string; client: Client<RunnerApi> }>()

  function clientOf(hostname: string): Client<RunnerApi> {
    const node = findNode(hostname)
    if (!node) throw new HakuError('node.not_found', `There is no node ${hostname}.`)
    const key = `${node.url} ${node.hostToken}`
    const known = clients.get(hostname)
    if (known?.key === key) return known.client
    known?.client.close()
    const client = createClient({ api: runnerApi, url: node.url, token: node.hostToken, unreachable: 'node.unreachable' })
    clients.set(hostname, { key, client })
    return client
  }

  const control = (action: 'killTask' | 'pauseTask' | 'resumeTask'): Dispatcher['kill'] => async (node, { id, instance }) =>
    clientOf(node).call(action, { params: { id }, body: { instance }, timeoutMs: ANSWER_TIMEOUT_MS })

  return {
    run: async (node, order) => clientOf(node).call('putTask', { params: { id: order.id }, body: order, timeoutMs: ANSWER_TIMEOUT_MS }),
    kill: control('killTask'),
    pause: control('pauseTask'),
    resume: control('resumeTask'),
    async readOutput(node, { id, ...query }, signal) {
      const answer = await clientOf(node).stream('getTaskOutput', { params: { id }, query, signal, timeoutMs: ANSWER_TIMEOUT_MS })
      return { offset: Number(answer.headers[outputHeaders.offset] ?? query.offset), bytes: answer }
    },
    prefetch: async (node, order, signal) => clientOf(node).call('putImage', { params: versionOf(order), query: { wait: PREFETCH_WAIT_SECONDS }, body: order, signal, timeoutMs: ANSWER_TIMEOUT_MS + 1000 * PREFETCH_WAIT_SECONDS }),
    cancelPrefetch: async (node, order) => clientOf(node).call('cancelImage', { params: versionOf(order), timeoutMs: ANSWER_TIMEOUT_MS }),
    close() {
      for (const { client } of clients.values()) client.close()
    },
  }
}

// --- internal ---

function versionOf({ environment, version }: VersionOrder) {
  return { environment, version: String(version) }
}
