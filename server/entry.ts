import '#nitro-internal-pollyfills'
import { useNitroApp } from 'nitropack/runtime'
import { hostApi } from '#core/api/host.ts'
import { loadConfig } from '#core/config/load.ts'
import { startEdge } from '#core/http/edge.ts'
import { runService } from '#core/http/service.ts'
import { createContext, setContext } from '#server/context.ts'

await runService('Host', async () => {
  const { config } = loadConfig()
  const context = await createContext(config)
  setContext(context)
  const edge = await startEdge({
    app: useNitroApp().h3App,
    api: hostApi,
    tokens: () => context.tokens,
    allowedHosts: [config.network.host_bind_ip, config.network.host_reachable_address, ...config.network.allowed_hosts],
    host: config.network.host_bind_ip,
    port: config.network.host_port,
    name: 'Host',
  })
  console.error(`[hakuriver] [host] listens on ${edge.url}, shared directory ${config.paths.shared_dir}, tokens in ${config.paths.state_dir}`)
  return {
    /** New requests are refused at once; shells and operations end while those in flight are still answered. */
    async stop() {
      const closed = edge.close(3000)
      await context.close()
      await closed
    },
  }
})
