// Bundles the programs that outlive the Runner that starts them, and the files that they were started from.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/** Writes the supervisor of plain processes into the file `outfile`. */
export async function buildSupervisor({ outfile }) {
  await bundle('runner/processes/supervisor/main.ts', outfile)
}

/** Writes the keeper of items that share containers into the file `outfile`. */
export async function buildKeeper({ outfile }) {
  await bundle('runner/executors/pack/keeper/main.ts', outfile)
}

/** Writes the agent that starts such items in their container into the file `outfile`. */
export async function buildAgent({ outfile }) {
  await bundle('runner/executors/pack/agent/main.ts', outfile)
}

/** CommonJS, because its module loader takes a few threads less. */
async function bundle(entryPoint, outfile) {
  await build({
    absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
    entryPoints: [entryPoint],
    outfile,
    bundle: true,
    minify: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
  })
}
