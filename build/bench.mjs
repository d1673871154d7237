// npm run bench [-- --json] [-- --only submit,parallel,shell,memory,environment,fleet,large,packaging]: builds, then measures against the raw Engine
// in the same run.
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { buildAll } from './build.mjs'
import { provideEngine } from './engine-setup.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false }, only: { type: 'string' } } })
await buildAll()
const outfile = `${root}dist/bench/main.mjs`
await build({ entryPoints: [`${root}bench/main.ts`], outfile, bundle: true, packages: 'external', format: 'esm', platform: 'node', target: 'node20', logLevel: 'error', define: { 'import.meta.url': JSON.stringify(`file://${root}test/support/cluster.ts`) } })
const engine = await provideEngine()
try {
  const { main } = await import(outfile)
  process.exitCode = await main({ socketPath: engine.socketPath, json: values.json, only: values.only?.split(',') })
} finally {
  await engine.stop?.()
}
