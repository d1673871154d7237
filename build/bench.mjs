// npm run bench [-- --json]: builds, then measures against the raw Engine in the same run.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { buildAll } from './build.mjs'
import { provideEngine } from './engine-setup.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

await buildAll()
const outfile = `${root}dist/bench/main.mjs`
await build({ entryPoints: [`${root}bench/main.ts`], outfile, bundle: true, packages: 'external', format: 'esm', platform: 'node', target: 'node20', logLevel: 'error', define: { 'import.meta.url': JSON.stringify(`file://${root}test/support/cluster.ts`) } })
const engine = await provideEngine()
try {
  const { main } = await import(outfile)
  process.exitCode = await main({ socketPath: engine.socketPath, json: process.argv.includes('--json') })
} finally {
  await engine.stop?.()
}
