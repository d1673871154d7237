import { defineNitroConfig } from 'nitropack/config'
import { nitroOptions } from '../build/nitro-options.mjs'

/** The Runner. `runner/routes/` holds one file for each endpoint of `core/api/runner.ts`; `runner/entry.ts` owns the process. */
export default defineNitroConfig({
  ...nitroOptions,
  entry: './entry.ts',
  srcDir: '.',
  scanDirs: [],
  output: { dir: '../dist/runner' },
  buildDir: '../node_modules/.nitro/runner',
})
