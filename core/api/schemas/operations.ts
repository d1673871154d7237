import { z } from 'zod'
import { bytes, problem, time } from './common.ts'
import { container } from './containers.ts'
import { version } from './environments.ts'

export const operationKind = z.enum(['create_container', 'create_version', 'rollback', 'fork', 'prefetch_version', 'verify_version'])
export const operationState = z.enum(['running', 'succeeded', 'failed', 'cancelled'])
export const operationProgress = z.object({
  /** What is being done now: `pull`, `stop`, `commit`, `save`, … */
  phase: z.string(),
  /** Bytes done and, where known, in all. */
  bytes: bytes.nullable(),
  totalBytes: bytes.nullable(),
  message: z.string(),
})
export type OperationProgress = z.infer<typeof operationProgress>

export const operation = z.object({
  id: z.string(),
  kind: operationKind,
  environment: z.string(),
  state: operationState,
  progress: operationProgress,
  created: time,
  finished: time.nullable(),
  /** Of a finished operation: the container or the version that it made. */
  result: z.union([container, version]).nullable(),
  error: problem.nullable(),
})
export type Operation = z.infer<typeof operation>
