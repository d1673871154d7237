import type { Health } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { problemOf } from '#core/http/problems.ts'
import { version } from '#core/version.ts'
import { assertSharedDirectory } from './storage.ts'

/** Asks everything the Host leans on. What is wrong is told, and the Host goes on with the rest. */
export async function checkHealth(engine: Engine, sharedDir: string): Promise<Health> {
  const checks = await Promise.allSettled([engine.info(), Promise.resolve().then(() => assertSharedDirectory(sharedDir))])
  const problems = checks.filter((check) => check.status === 'rejected').map((check) => problemOf(check.reason))
  return { status: problems.length === 0 ? 'ok' : 'degraded', version, problems }
}
