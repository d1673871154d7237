import { defineNitroConfig } from 'nitropack/config'
import { nitroOptions } from './build/nitro-options.mjs'

/** The Host. `routes/` holds one file for each endpoint of `core/api/host.ts`; `server/entry.ts` owns the process. */
export default defineNitroConfig({
  ...nitroOptions,
  entry: './server/entry.ts',
  srcDir: '.',
  scanDirs: ['server'],
  output: { dir: 'dist/host' },
  buildDir: 'node_modules/.nitro/host',
})
