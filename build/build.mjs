// Builds everything that runs: dist/host and dist/runner (Nitro), dist/bin, dist/cli and dist/simulator (esbuild).
import { fileURLToPath } from 'node:url'
import { build, copyPublicAssets, createNitro, prepare } from 'nitropack'
import { buildBins } from './bins.mjs'
import { buildAgent, buildKeeper, buildSupervisor } from './helpers.mjs'
import { buildSimulator } from './simulator.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Builds one Nitro app. `rootDir` holds its nitro.config.ts. */
async function buildNitro(rootDir) {
  const nitro = await createNitro({ rootDir, dev: false, logLevel: 1 })
  try {
    await prepare(nitro)
    await copyPublicAssets(nitro)
    await build(nitro)
  } finally {
    await nitro.close()
  }
}

export async function buildAll({ log = console.error } = {}) {
  const started = Date.now()
  await buildNitro(root)
  await buildNitro(`${root}runner`)
  await buildSupervisor({ outfile: `${root}dist/runner/server/supervisor.cjs` })
  await buildKeeper({ outfile: `${root}dist/runner/server/keeper.cjs` })
  await buildAgent({ outfile: `${root}dist/runner/server/agent.cjs` })
  await buildSimulator({ outDir: `${root}dist` })
  await buildBins({ outDir: `${root}dist` })
  log(`[hakuriver] built dist/host, dist/runner and dist/bin in ${((Date.now() - started) / 1000).toFixed(1)} s`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildAll()
