// Whether what is built is newer than all it was built from.
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const SOURCES = ['build/bins.mjs', 'build/build.mjs', 'build/helpers.mjs', 'build/simulator.mjs', 'cli', 'core', 'routes', 'runner', 'server', 'simulator', 'nitro.config.ts', 'package-lock.json', 'package.json', 'tsconfig.json']
/** Written last: a build that failed half-way is not fresh. */
const LAST_BUILT = ['dist/host/server/index.mjs', 'dist/runner/server/index.mjs', 'dist/bin/hakuriver']

/** @param root the project's directory */
export function isBuildFresh(root) {
  const built = Math.min(...LAST_BUILT.map((path) => modified(join(root, path), 0)))
  return SOURCES.every((path) => newest(join(root, path)) < built)
}

// --- internal ---

function newest(path) {
  const entries = readEntries(path)
  if (!entries) return modified(path, Infinity)
  return Math.max(0, ...entries.map((entry) => (entry.name.startsWith('.') ? 0 : newest(join(path, entry.name)))))
}

function readEntries(path) {
  try {
    return readdirSync(path, { withFileTypes: true })
  } catch {
    return undefined
  }
}

function modified(path, missing) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? missing
}
