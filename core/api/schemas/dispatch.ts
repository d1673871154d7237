import { z } from 'zod'
import { taskReasons, taskStates } from '../../tasks/states.ts'
import { bytes, time } from './common.ts'
import { syncProgress, versionOrder } from './sync.ts'
import { taskId } from './tasks.ts'

/** What the Host tells a Runner to run. Everything is decided: the Runner chooses nothing. */
export const taskOrder = versionOrder.extend({
  id: taskId,
  command: z.array(z.string()).min(1),
  env: z.record(z.string(), z.string()),
  mounts: z.array(z.string()),
  cores: z.int().nonnegative(),
  memoryBytes: bytes.nullable(),
  network: z.string(),
  privileged: z.boolean(),
})
export type TaskOrder = z.infer<typeof taskOrder>

/** What a Runner saw of a task: the whole picture each time, so that reports may be lost, doubled or late. */
export const taskReport = z.strictObject({
  id: taskId,
  /** Grows with every report about this task. The Host ignores what it has already overtaken. */
  sequence: z.int().positive(),
  state: z.enum(taskStates),
  reason: z.enum(taskReasons).nullable(),
  message: z.string().nullable(),
  exitCode: z.int().nullable(),
  started: time.nullable(),
  finished: time.nullable(),
  /** Final sizes of the output files, so that the Host knows when it has read all of them. */
  stdoutBytes: bytes.nullable(),
  stderrBytes: bytes.nullable(),
  sync: syncProgress.nullable().default(null),
  /** What is wrong with the version's tarball: nobody else should try it. */
  damage: z.string().max(4096).nullable().default(null),
})
export type TaskReport = z.infer<typeof taskReport>

export const reportsBody = z.strictObject({ instanceId: z.string(), reports: z.array(taskReport).min(1).max(1000) })
export const reportsResponse = z.object({
  /** Ids whose last report the Host has stored; of a finished one the Runner may now remove the container. */
  acknowledged: z.array(z.string()),
  /** Ids that the Host never gave to this node: the Runner ends and forgets them. */
  unknown: z.array(z.string()),
})
