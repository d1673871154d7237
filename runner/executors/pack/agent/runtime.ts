import { execFile } from 'node:child_process'
import { basename } from 'node:path'
import { promisify } from 'node:util'
import type { Mount } from '#core/tasks/mounts.ts'
import { SMALL_NODE } from '../../../keeping/small-node.ts'

/** What the agent needs to run in any image, whatever libraries that has: our own Node, its libraries and their loader, seen through mounts. */
export interface AgentRuntime {
  mounts: Mount[]
  /** argv, in the container. */
  command: string[]
}

/** Where containers see what is ours. Pipes of items are below it. */
const AGENT_MOUNT = '/.hakuriver'
export const PIPES_MOUNT = `${AGENT_MOUNT}/pipes`

/** @param program file of the agent: see `build/helpers.mjs`. @throws if it can not be found out what this Node needs */
export async function findRuntime(program: string): Promise<AgentRuntime> {
  const { libraries, loader } = parseLibraries(await listLibraries(process.execPath))
  const node = mountOf(process.execPath, `${AGENT_MOUNT}/node`)
  const agent = mountOf(program, `${AGENT_MOUNT}/agent.cjs`)
  const directory = `${AGENT_MOUNT}/lib`
  const load = loader === undefined ? [] : [`${directory}/${basename(loader)}`, '--library-path', directory]
  return {
    mounts: [node, agent, ...[...libraries, ...(loader === undefined ? [] : [loader])].map((file) => mountOf(file, `${directory}/${basename(file)}`))],
    // Its memory counts as that of its items.
    command: [...load, node.target, ...SMALL_NODE, agent.target],
  }
}

/** What `ldd` prints: `libc.so.6 => /lib/libc.so.6 (0x7f…)`, and the loader as a path alone. A file is called as others ask for it. */
export function parseLibraries(text: string): { libraries: string[]; loader: string | undefined } {
  const libraries = [...text.matchAll(/^\s*\S+ => (?<file>\/\S+) \(/gm)].map(({ groups }) => groups?.['file'] ?? '')
  const loader = /^\s*(?<file>\/\S*\/ld-\S+) \(/m.exec(text)?.groups?.['file'] ?? libraries.find((file) => basename(file).startsWith('ld-'))
  return { libraries: libraries.filter((file) => file !== loader), loader }
}

// --- internal ---

function mountOf(source: string, target: string): Mount {
  return { source, target, readOnly: true }
}

async function listLibraries(file: string): Promise<string> {
  try {
    return (await promisify(execFile)('ldd', [file])).stdout
  } catch (error) {
    // One that needs none is no failure.
    if (error instanceof Error && 'stderr' in error && /not a dynamic executable|statically linked|Not a valid dynamic program/i.test(String(error.stderr))) return ''
    throw error
  }
}
