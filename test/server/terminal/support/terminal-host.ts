import { createApp, createRouter } from 'h3'
import { hostApi } from '#core/api/host.ts'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { startEdge } from '#core/http/edge.ts'
import { defineSocketEndpoint } from '#core/http/endpoint-handler.ts'
import { labels } from '#core/paths.ts'
import { createTerminals, type Terminals } from '#server/terminal/terminals.ts'

export const TOKEN = 'terminal-test-token'

export interface TerminalHost {
  /** `http://…` */
  url: string
  terminals: Terminals
  close(): Promise<void>
}

/** The terminal endpoint alone, on the real edge and a real Engine. */
export async function startTerminalHost(engine: Engine, options: { pingIntervalMs?: number } = {}): Promise<TerminalHost> {
  const find = async (name: string) => {
    const found = await engine.inspectContainer(name)
    if (found?.labels[labels.container] !== name) throw new HakuError('container.not_found', `no container ${name}`)
    return found
  }
  const terminals = createTerminals({ engine, containers: { find }, ...options })
  const app = createApp()
  app.use(createRouter().get('/api/containers/:name/terminal', defineSocketEndpoint(hostApi.openTerminal, (socket, input) => terminals.open(socket, input))))
  const edge = await startEdge({ app, api: hostApi, tokens: () => ({ admin: TOKEN }), allowedHosts: [], host: '127.0.0.1', port: 0, name: 'Host' })
  return {
    url: edge.url,
    terminals,
    async close() {
      await terminals.closeAll()
      await edge.close(0)
    },
  }
}
