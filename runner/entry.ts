import '#nitro-internal-pollyfills'
import { useNitroApp } from 'nitropack/runtime'
import { loadConfig } from '#core/config/load.ts'
import { runService } from '#core/http/service.ts'
import { serve } from '#runner/serve.ts'

await runService('Runner', () => serve(loadConfig().config, useNitroApp().h3App))
