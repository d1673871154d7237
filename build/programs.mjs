// Child processes for the scripts of this folder.
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The path of a program, looked up in PATH and in the system directories; `undefined` if there is none. */
export function findProgram(name) {
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'].filter(Boolean)
  return directories.map((directory) => join(directory, name)).find(isExecutable)
}

/** Runs a program to its end, never rejecting: `code` is 127 if it could not be started. `output` holds both streams. */
export function run(program, parameters, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    let output = ''
    const collect = (chunk) => (output += chunk)
    child.stdout?.setEncoding('utf8').on('data', collect)
    child.stderr?.setEncoding('utf8').on('data', collect)
    child.once('error', (error) => resolve({ code: 127, output: error.message }))
    child.once('close', (code, signal) => resolve({ code: code ?? signal, output }))
  })
}

/** Like {@link run}, but a program that fails is an error with the end of what it said. Resolves to its output. */
export async function mustRun(program, parameters, options) {
  const { code, output } = await run(program, parameters, options)
  if (code === 0) return output
  throw new Error(`${program} ended with ${code}: ${output.trimEnd().split('\n').slice(-10).join('\n')}`)
}

// --- internal ---

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
