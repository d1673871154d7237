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
