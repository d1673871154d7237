import { readFileSync } from 'node:fs'
import { detectCgroups } from './scope/detect.ts'
import type { ProcessServices } from './services.ts'

/** What plain processes need of this machine, beside the Runner's services. */
export function plainServices(options: Omit<ProcessServices, 'cgroups'>): ProcessServices {
  let setup: ReturnType<ProcessServices['cgroups']> | undefined
  return {
    ...options,
    cgroups: () => (setup ??= detectCgroups({ node: options.hostname, mounts: readFileSync('/proc/self/mountinfo', 'utf8'), own: readFileSync('/proc/self/cgroup', 'utf8'), isRoot: process.getuid?.() === 0 })),
  }
}
