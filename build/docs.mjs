// Writes the configuration table into the README, from the schema.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const { outputFiles } = await build({ entryPoints: [`${root}core/config/table.ts`], bundle: true, format: 'esm', platform: 'node', write: false })
const { insertConfigTable } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`)
writeFileSync(`${root}README.md`, insertConfigTable(readFileSync(`${root}README.md`, 'utf8')))
