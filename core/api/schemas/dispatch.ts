import { z } from 'zod'
import { taskReasons, taskStates } from '../../tasks/states.ts'
import { bytes, time } from './common.ts'
import { syncProgress, versionOrder } from './sync.ts'
import { signalName, taskId } from './submission.ts'

/** What the Host tells a Runner to run. Everything is decided: the Runner chooses nothing. */
export const taskOrder = z.strictObject({
  id: taskId,
  /** Which execution of the task. A higher one ends a lower one of the same task. */
  instance: z.int().positive(),
  /** `null`: no container. */
  image: versionOrder.nullable(),
  command: z.array(z.string()).min(1),
  env: z.record(z.string(), z.string()),
  /** The Host's own, of every task. */
  mounts: z.array(z.string()),
  /** What its user asked for. Only the node can say where that leads, and only when it makes the container. */
  userMounts: z.array(z.string()),
  /** Below which directories those may be. */
  allowedMounts: z.array(z.string()),
  cores: z.int().nonnegative(),
  memoryBytes: bytes.nullable(),
  numaNode: z.int().nullable(),
  gpus: z.array(z.strictObject({ id: z.int(), uuid: z.string() })),
  user: z.string().nullable(),
  workdir: z.string().nullable(),
  network: z.string(),
  privileged: z.boolean(),
  timeLimitSeconds: z.number().nullable(),
  signal: signalName,
  graceSeconds: z.number(),
  /** Of each of the two outputs; what is more is cut off with a mark. `null`: no limit. */
  maxOutputBytes: bytes.nullable(),
  /** Tasks with the same word share one container. */
  pack: z.string().nullable(),
})
export type TaskOrder = z.infer<typeof taskOrder>

/** Which execution is meant. */
export const executionBody = z.strictObject({ instance: z.int().positive() })
export const execution = z.strictObject({ id: taskId, instance: z.int().positive() })
export type Execution = z.infer<typeof execution>

/** A Runner neither puts a task back into the queue nor loses it: both are the Host's. */
export const reportedStates = taskStates.filter((state) => state !== 'queued' && state !== 'lost')
const MAX_MESSAGE = 4096

/** For people: rather cut than refused, for a report that is refused comes again and again. */
const sentence = z.string().overwrite((message) => (message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message).toWellFormed())

/** What a Runner saw of a task: the whole picture each time, so that reports may be lost, doubled or late. */
export const taskReport = z.strictObject({
  id: taskId,
  instance: z.int().positive(),
  /** Grows with every report about this execution. The Host ignores what it has already overtaken. */
  sequence: z.int().positive(),
  state: z.enum(reportedStates),
  reason: z.enum(taskReasons).nullable(),
  message: sentence.nullable(),
  exitCode: z.int().nullable(),
  started: time.nullable(),
  finished: time.nullable(),
  /** Final sizes of the output files, so that the Host knows when it has read all of them. */
  stdoutBytes: bytes.nullable(),
  stderrBytes: bytes.nullable(),
  sync: syncProgress.nullable().default(null),
  /** What is wrong with the version's tarball: nobody else should try it. */
  damage: sentence.nullable().default(null),
})
export type TaskReport = z.infer<typeof taskReport>

export const reportsBody = z.strictObject({ instanceId: z.string(), reports: z.array(taskReport).min(1).max(1000) })
export const reportsResponse = z.object({
  /** Whose last report the Host has stored; of a finished one the Runner may now remove the container. */
  acknowledged: z.array(execution),
  /** What the Host does not want on this node (any more): the Runner ends and forgets them. */
  unknown: z.array(execution),
})
