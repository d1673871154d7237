import { describe } from 'vitest'
import { partialSuite } from '#test/conformance/engine.ts'
import { createDockerEngine } from '#core/engine/docker.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { startTestEngine, whyNoEngines } from './engine.ts'
import { findMissingReleases, type Release, releases } from './releases.ts'

const missing = whyNoEngines()
if (missing) console.log(`conformance of Engines of other releases is skipped: ${missing}`)
const absent = missing ? new Map<Release, string>() : await findMissingReleases()

/** What Engines differ in and tasks lean on. The installed one is tested in whole elsewhere. */
describe.skipIf(missing)('Engines of other releases', () => {
  for (const release of releases.filter((name) => name !== 'installed' && !absent.has(name))) {
    partialSuite(release, async () => {
      const { socketPath, stop } = await startTestEngine(release)
      return { engine: createDockerEngine({ socketPath }), image: await ensureBusybox(socketPath), close: stop }
    })
  }
})
