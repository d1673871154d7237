// Bundles the supervisor of plain processes: a program of its own, which outlives the Runner that starts it, and the files that it was started from.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/** Writes the program into the file `outfile`. CommonJS, because its module loader takes a few threads less. */
export async function buildSupervisor({ outfile }) {
  await build({
    absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
    entryPoints: ['runner/processes/supervisor/main.ts'],
    outfile,
    bundle: true,
    minify: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
  })
}
