import { fileURLToPath } from 'node:url'

/** A program beside the Runner's: see `build/helpers.mjs`. */
export function helperFile(name: 'agent' | 'keeper' | 'supervisor'): string {
  return fileURLToPath(new URL(`${name}.cjs`, import.meta.url))
}
