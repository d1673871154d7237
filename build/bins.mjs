// Bundles the command line into dist/cli and writes one small starter for each command into dist/bin.
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Command → the words it stands for. */
const BINS = {
  hakuriver: [],
  'hakuriver.docker': ['docker'],
  'hakuriver.docker-shell': ['docker-shell'],
  'hakuriver.task': ['task'],
  'hakuriver.client': ['client'],
  'hakuriver.host': ['host'],
  'hakuriver.runner': ['runner'],
  'hakuriver.init': ['init'],
}

export async function buildBins({ outDir }) {
  rmSync(join(outDir, 'cli'), { recursive: true, force: true })
  await build({
    entryPoints: [join(root, 'cli/main.ts')],
    outdir: join(outDir, 'cli'),
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    minify: true,
    keepNames: false,
    logLevel: 'error',
    // Packages in CommonJS ask for Node's own modules by require.
    banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
  })
  const binDir = join(outDir, 'bin')
  mkdirSync(binDir, { recursive: true })
  // "hakuriver.docker" has an extension that Node's ES modules do not know; CommonJS takes any.
  writeFileSync(join(binDir, 'package.json'), '{"type":"commonjs"}\n')
  for (const [name, words] of Object.entries(BINS)) {
    writeFileSync(join(binDir, name), starter(words))
    chmodSync(join(binDir, name), 0o755)
  }
}

/** In the syntax of an old Node, so that one can say that it is too old. */
function starter(words) {
  return `#!/usr/bin/env node
var version = process.versions.node.split('.').map(Number)
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  console.error('HakuRiver needs Node.js 20.19 or newer, and this is ' + process.versions.node + '. Install a newer one.')
  process.exit(1)
}
process.argv.splice.apply(process.argv, [2, 0].concat(${JSON.stringify(words)}))
import('../cli/main.mjs')
`
}
