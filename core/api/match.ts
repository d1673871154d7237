import type { Endpoint } from './endpoint.ts'

export type EndpointMatch = { endpoint: Endpoint; params: Record<string, string> } | 'unknown_path' | 'unknown_method'

/** Finds the endpoint of a request. Only what stands in the contract can be reached. */
export function createMatcher(api: Record<string, Endpoint>): (method: string, pathname: string) => EndpointMatch {
  /** By how many segments they have: only those are tried. */
  const entries = new Map<number, { endpoint: Endpoint; pattern: RegExp }[]>()
  for (const endpoint of Object.values(api)) entries.set(segments(endpoint.path), [...(entries.get(segments(endpoint.path)) ?? []), { endpoint, pattern: pathPattern(endpoint.path) }])
  return (method, pathname) => {
    let result: EndpointMatch = 'unknown_path'
    for (const { endpoint, pattern } of entries.get(segments(pathname)) ?? []) {
      const found = pattern.exec(pathname)
      if (!found) continue
      if (endpoint.method !== method) {
        result = 'unknown_method'
        continue
      }
      const params = decodeAll(found.groups ?? {})
      if (params) return { endpoint, params }
    }
    return result
  }
}

/** The path with its parameters filled in and escaped. */
export function buildPath(path: string, params: Record<string, unknown> = {}): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(params[name])))
}

// --- internal ---

function segments(path: string): number {
  let count = 0
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) count += 1
  return count
}

function pathPattern(path: string): RegExp {
  return new RegExp(`^${path.replaceAll('.', String.raw`\.`).replace(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`)
}

function decodeAll(groups: Record<string, string>): Record<string, string> | undefined {
  try {
    return Object.fromEntries(Object.entries(groups).map(([name, value]) => [name, decodeURIComponent(value)]))
  } catch {
    // A percent sign with no two digits behind it: no path of ours has one, so it is told as one that there is not.
    return undefined
  }
}
