import { z } from 'zod'
import { environmentName, time } from './common.ts'

export const containerStatus = z.enum(['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'])
export const container = z.object({
  id: z.string(),
  name: z.string(),
  image: z.string(),
  status: containerStatus,
  created: time,
})
export type Container = z.infer<typeof container>

export const createContainerBody = z.strictObject({
  name: environmentName,
  image: z.string().min(1).max(512),
  /** Pull even when the Engine has the image. */
  pull: z.boolean().default(false),
  /** An equal container (same image, same options) that exists is a success. */
  ifNotExists: z.boolean().default(false),
  env: z.record(z.string(), z.string()).default({}),
  /** `SRC:DST[:ro]`, below the roots of `docker.allowed_mounts`. */
  mounts: z.array(z.string()).max(64).default([]),
})
export type CreateContainerBody = z.infer<typeof createContainerBody>
