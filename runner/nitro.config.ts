import { defineNitroConfig } from 'nitropack/config'

/** The Runner. `runner/routes/` holds one file for each endpoint of `core/api/runner.ts`; `runner/entry.ts` owns the process. */
export default defineNitroConfig({
  compatibilityDate: '2026-11-01',
  preset: 'node-server',
  entry: './entry.ts',
  srcDir: '.',
  scanDirs: [],
  output: { dir: '../dist/runner' },
  buildDir: '../node_modules/.nitro/runner',
  imports: false,
  serveStatic: false,
  sourceMap: false,
  minify: false,
  experimental: { websocket: true },
  esbuild: { options: { target: 'node20' } },
  typescript: { strict: true, generateTsConfig: false },
})
