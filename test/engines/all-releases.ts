import { createDockerEngine } from '#core/engine/docker.ts'
import type { Engine } from '#core/engine/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { startTestEngine, type TestEngine } from './engine.ts'
import type { Release } from './releases.ts'

export const RELEASES = ['installed', '26', '28', '28-containerd'] as const satisfies Release[]

/** One Engine of each release that can be had here, each with `busybox:latest`. */
export interface AllReleases {
  /** Those that run. */
  running: Release[]
  /** Why there is none of this release; `undefined` if there is one. */
  whyAbsent(release: Release): string | undefined
  socketOf(release: Release): string
  engineOf(release: Release): Engine
  stop(): Promise<void>
}

/** @throws if not even the installed one starts; others that can not be had are told */
export async function startAllReleases(): Promise<AllReleases> {
  const engines = new Map<Release, TestEngine>()
  const absent = new Map<Release, string>()
  for (const release of RELEASES) {
    try {
      const engine = await startTestEngine(release)
      engines.set(release, engine)
      await ensureBusybox(engine.socketPath)
    } catch (error) {
      if (release === 'installed') throw error
      absent.set(release, String(error))
      console.log(`Engine ${release} can not be had here: ${String(error)}`)
    }
  }
  const socketOf = (release: Release) => engines.get(release)?.socketPath ?? ''
  return {
    running: [...engines.keys()],
    whyAbsent: (release) => absent.get(release),
    socketOf,
    engineOf: (release) => createDockerEngine({ socketPath: socketOf(release) }),
    async stop() {
      for (const engine of engines.values()) await engine.stop()
    },
  }
}
