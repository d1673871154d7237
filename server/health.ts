import type { Health } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { problemOf } from '#core/http/problems.ts'
import type { SharedPaths } from '#core/paths.ts'
import { assertSharedDirectory } from '#core/shared-directory.ts'
import { version } from '#core/version.ts'

/** Asks everything the Host leans on. What is wrong is told, and the Host goes on with the rest. */
export async function checkHealth(engine: Engine, paths: SharedPaths): Promise<Health> {
  const checks = await Promise.allSettled([engine.info(), assertSharedDirectory(paths)])
  const problems = checks.filter((check) => check.status === 'rejected').map((check) => problemOf(check.reason))
  return { status: problems.length === 0 ? 'ok' : 'degraded', version, problems }
}
