import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { detectCgroups } from './scope/detect.ts'
import type { ProcessServices } from './services.ts'

/** What plain processes need of this machine, beside the Runner's services. */
export function plainServices(options: Omit<ProcessServices, 'cgroups' | 'supervisor'>): ProcessServices {
  let setup: ReturnType<ProcessServices['cgroups']> | undefined
  return {
    ...options,
    supervisor: fileURLToPath(new URL('supervisor.cjs', import.meta.url)),
    cgroups: () => (setup ??= detectCgroups({ node: options.hostname, mounts: readFileSync('/proc/self/mountinfo', 'utf8'), own: readFileSync('/proc/self/cgroup', 'utf8'), isRoot: process.getuid?.() === 0 })),
  }
}
