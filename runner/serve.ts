import type { App } from 'h3'
import { runnerApi } from '#core/api/runner.ts'
import type { Config } from '#core/config/schema.ts'
import { startEdge } from '#core/http/edge.ts'
import type { Service } from '#core/http/service.ts'
import { setContext } from './context.ts'
import { createRunner } from './runner.ts'

const STOP_GRACE_MS = 3000

/** Starts a Runner behind the routes in `app`. @throws `config.invalid`, `storage.unavailable`, `internal.error` */
export async function serve(config: Config, app: App): Promise<Service> {
  const { network } = config
  const runner = await createRunner(config)
  setContext(runner)
  const edge = await startEdge({
    app,
    api: runnerApi,
    tokens: () => ({ host: runner.hostToken }),
    ticketSecret: runner.hostToken,
    allowedHosts: [network.runner_address, network.runner_bind_ip, ...network.allowed_hosts].filter(Boolean),
    host: network.runner_bind_ip || network.runner_address,
    port: network.runner_port,
    name: 'Runner',
  })
  console.error(`[hakuriver] [runner] ${config.runner.hostname} listens on ${edge.url} for the Host at ${runner.hostUrl}`)
  runner.start()
  return {
    async stop() {
      await edge.close(STOP_GRACE_MS)
      await runner.close()
    },
  }
}
