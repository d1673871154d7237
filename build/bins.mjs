// Bundles the command line into dist/cli and writes the programs of dist/bin, one for each name users know.
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Program → the command it stands for. */
export const programs = {
  hakuriver: [],
  'hakuriver.docker': ['docker'],
  'hakuriver.docker-shell': ['docker-shell'],
  'hakuriver.task': ['task'],
  'hakuriver.client': ['client'],
  'hakuriver.host': ['host'],
  'hakuriver.runner': ['runner'],
  'hakuriver.init': ['init'],
  hakurun: ['run'],
}

/**
 * A small young generation for the Host, through which shells stream: buffers that went by are then freed after a megabyte of garbage, not
 * after sixteen. Measured on a shell with a slow reader: 104 MB instead of 142.
 *
 * And an old one that is looked through when it has doubled, not when it has grown fourfold: most of what comes there is of requests, and over
 * soon. Measured with 500 nodes and 10,000 tasks: 230 MB instead of 340.
 */
const HOST_FLAGS = '--max-semi-space-size=1 --heap-growing-percent=100'

/** Writes `<outDir>/cli` and `<outDir>/bin`. */
export async function buildBins({ outDir }) {
  const cli = `${outDir}/cli`
  const bin = `${outDir}/bin`
  await Promise.all([cli, bin].map((directory) => rm(directory, { recursive: true, force: true })))
  await build({
    absWorkingDir: root,
    entryPoints: { main: 'cli/main.ts' },
    outdir: cli,
    outExtension: { '.js': '.mjs' },
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    // ws tries them and does without.
    external: ['bufferutil', 'utf-8-validate'],
    // ws is CommonJS and requires Node's own modules.
    banner: { js: "import{createRequire as __hakuRequire}from'node:module';const require=__hakuRequire(import.meta.url);" },
    logLevel: 'warning',
  })
  await mkdir(bin, { recursive: true })
  // A program's name has no extension that Node knows: the folder says that these files are CommonJS.
  await writeFile(`${bin}/package.json`, '{"type":"commonjs"}\n')
  await writeFile(`${cli}/start.cjs`, startSource())
  for (const [name, command] of Object.entries(programs)) {
    await writeFile(`${bin}/${name}`, programSource(command, name === 'hakuriver.host' ? `${HOST_FLAGS} ` : ''))
    await chmod(`${bin}/${name}`, 0o755)
  }
}

/**
 * In the syntax of old Nodes, so that they can say what is wrong with them; what they can not read is in start.cjs.
 *
 * It begins as a program of the shell, whose second line is none of JavaScript's concern. Without the "--" Node takes options such as
 * --env-file for itself wherever they stand, and not every env knows -S.
 */
function programSource(command, flags) {
  return `#!/bin/sh
':' //; exec node ${flags}-- "$0" "$@"
'use strict'
var version = process.versions.node.split('.').map(Number)
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  console.error('HakuRiver needs Node 20.19 or newer; this is Node ' + process.versions.node + ' (' + process.execPath + ').')
  process.exit(1)
}
require('../cli/start.cjs')(${JSON.stringify(command)})
`
}

function startSource() {
  return `'use strict'
module.exports = function (command) {
  import('./main.mjs').then(function (cli) { return cli.main(command, process.argv.slice(2)) })
}
`
}
