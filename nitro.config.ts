import { defineNitroConfig } from 'nitropack/config'

/** The Host. `routes/` holds one file for each endpoint of `core/api/host.ts`; `server/entry.ts` owns the process. */
export default defineNitroConfig({
  compatibilityDate: '2026-11-01',
  preset: 'node-server',
  entry: './server/entry.ts',
  srcDir: '.',
  scanDirs: ['server'],
  output: { dir: 'dist/host' },
  buildDir: 'node_modules/.nitro/host',
  imports: false,
  serveStatic: false,
  sourceMap: false,
  minify: false,
  experimental: { websocket: true },
  esbuild: { options: { target: 'node20' } },
  typescript: { strict: true, generateTsConfig: false },
})
