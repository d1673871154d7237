// npm run bench [-- --json] [-- --only submit,parallel,shell,memory,packaging,submissions,list,scheduler,simulate,runners,environment,fleet,large]: builds, then measures against the raw Engine
// in the same run.
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { buildAll } from './build.mjs'
import { provideEngine } from './engine-setup.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false }, only: { type: 'string' } } })
await buildAll()
const outdir = `${root}dist/bench`
await build({ entryPoints: { main: `${root}bench/main.ts`, 'raw-submissions': `${root}bench/queue/raw-submissions.ts` }, outdir, outExtension: { '.js': '.mjs' }, bundle: true, packages: 'external', format: 'esm', platform: 'node', target: 'node20', logLevel: 'error', define: { 'import.meta.url': JSON.stringify(`file://${root}test/support/cluster.ts`) } })
const engine = await provideEngine()
try {
  const { main } = await import(`${outdir}/main.mjs`)
  process.exitCode = await main({ socketPath: engine.socketPath, distDir: `${root}dist`, json: values.json, only: values.only?.split(',') })
} finally {
  await engine.stop?.()
}
