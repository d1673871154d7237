// `node test/engines/up.mjs [release …]`: starts an Engine of each release (installed, 26, 28, 28-containerd) until Ctrl-C.
import { rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))
const outfile = `${root}dist/test-engines.mjs`
await build({ absWorkingDir: root, entryPoints: ['test/engines/engine.ts'], outfile, bundle: true, format: 'esm', platform: 'node', target: 'node20', logLevel: 'warning' })
const { startTestEngine } = await import(outfile)
await rm(outfile)

const wanted = process.argv.length > 2 ? process.argv.slice(2) : ['installed']
const engines = await Promise.all(wanted.map((release) => startTestEngine(release)))
for (const { release, socketPath } of engines) console.log(`${release}: DOCKER_HOST=unix://${socketPath}`)

const stop = async () => {
  await Promise.all(engines.map((engine) => engine.stop()))
  process.exit(0)
}
process.once('SIGINT', stop)
process.once('SIGTERM', stop)
// Nothing else keeps this process alive: the daemons do not.
setInterval(() => {}, 2 ** 30)
