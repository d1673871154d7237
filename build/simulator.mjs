// Bundles the simulator: what "hakuriver simulate" loads, and the process of its nodes.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/** Writes `<outDir>/simulator`. */
export async function buildSimulator({ outDir }) {
  await build({
    absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
    entryPoints: ['simulator/main.ts', 'simulator/fleet-process.ts'],
    outdir: `${outDir}/simulator`,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    // Some packages are CommonJS and require Node's own modules.
    banner: { js: "import{createRequire as __hakuRequire}from'node:module';const require=__hakuRequire(import.meta.url);" },
    splitting: true,
    minify: true,
    logLevel: 'warning',
  })
}
