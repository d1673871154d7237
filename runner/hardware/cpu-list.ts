import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** CPUs in a list as the kernel writes it, such as `0-3,8,10-11`. */
export function parseCpuList(text: string): number[] {
  return text.trim().split(',').filter((part) => part !== '').flatMap((part) => {
    const [first = NaN, last = first] = part.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}

/** The list that {@link parseCpuList} reads. */
export function formatCpuList(cpus: readonly number[]): string {
  const parts: [first: number, last: number][] = []
  for (const cpu of cpus.toSorted((left, right) => left - right)) {
    const part = parts.at(-1)
    if (part && cpu === part[1] + 1) part[1] = cpu
    else parts.push([cpu, cpu])
  }
  return parts.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',')
}

/** The CPUs that this process may use, and so may give to tasks. */
export function readOwnCpus(): number[] {
  try {
    const list = /^Cpus_allowed_list:\s*(?<list>\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.groups?.['list']
    if (list !== undefined) return parseCpuList(list)
  } catch {
    // Not a Linux with /proc.
  }
  return Array.from({ length: availableParallelism() }, (_, cpu) => cpu)
}
