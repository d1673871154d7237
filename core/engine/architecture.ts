/** The name of an architecture in images (GOARCH), for the name that a kernel gives it. */
export function imageArchitecture(machine: string): string {
  return NAMES[machine] ?? (/^armv?[5-8]/.test(machine) ? 'arm' : machine)
}

// --- internal ---

const NAMES: Record<string, string> = { x86_64: 'amd64', aarch64: 'arm64', arm64: 'arm64', i386: '386', i686: '386', armv8l: 'arm' }
