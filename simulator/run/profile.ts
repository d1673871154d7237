import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** What V8 writes, as far as it is read here. */
interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number }; children?: number[] }[]
  samples: number[]
  /** Microseconds. */
  timeDeltas: number[]
}

/** The newest profile in a directory. @throws if there is none */
export function readProfile(directory: string): Profile {
  const newest = readdirSync(directory).filter((name) => name.endsWith('.cpuprofile')).sort().at(-1)
  if (newest === undefined) throw new Error(`there is no CPU profile in ${directory}`)
  return JSON.parse(readFileSync(join(directory, newest), 'utf8')) as Profile
}

const SHOWN = 25

/** Where the time went: functions by their own time and by their time with all that they call, in ms and for each task. */
export function hottest({ nodes, samples, timeDeltas }: Profile, tasks: number): string {
  const own = new Map<number, number>()
  for (const [index, id] of samples.entries()) own.set(id, (own.get(id) ?? 0) + (timeDeltas[index] ?? 0) / 1000)
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  const self = new Map<string, number>()
  const total = new Map<string, number>()
  for (const [id, ms] of own) {
    const seen = new Set<string>()
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const name = nameOf(byId.get(at))
      if (at === id) self.set(name, (self.get(name) ?? 0) + ms)
      if (!seen.has(name)) total.set(name, (total.get(name) ?? 0) + ms)
      seen.add(name)
    }
  }
  return [`own time (ms, µs a task)`, ...top(self, tasks), '', 'with all that they call', ...top(total, tasks)].join('\n')
}

// --- internal ---

function nameOf(node: Profile['nodes'][number] | undefined): string {
  const { functionName = '', url = '', lineNumber = 0 } = node?.callFrame ?? {}
  return `${functionName || '(anonymous)'} ${url.split('/').slice(-2).join('/')}:${lineNumber + 1}`
}

function top(times: ReadonlyMap<string, number>, tasks: number): string[] {
  return [...times].toSorted(([, left], [, right]) => right - left).slice(0, SHOWN).map(([name, ms]) => `${ms.toFixed(0).padStart(8)} ${((1000 * ms) / tasks).toFixed(1).padStart(8)}  ${name}`)
}
