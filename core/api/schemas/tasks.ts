import { z } from 'zod'
import { taskReasons, taskStates, taskWishes } from '../../tasks/states.ts'
import { bytes, environmentName, time } from './common.ts'
import { versionInBody } from './environments.ts'
import { syncProgress } from './sync.ts'

export const taskId = z.string().regex(/^[0-9a-z]{26}$/, 'not a task id')
const argument = z.string().max(131_072).refine((text) => !text.includes('\0'), 'contains a NUL character')
const environmentVariables = z.record(z.string().regex(/^[^=\0\n]+$/, 'is not a name of an environment variable').max(1024), argument)

export const submitBody = z.strictObject({
  /** argv. No shell touches it. */
  command: z.array(argument).min(1).max(10_000).refine((argv) => argv[0] !== '', 'begins with an empty word'),
  environment: environmentName,
  /** The current one unless said. */
  version: versionInBody.optional(),
  /** `HOST[:NUMA][::GPU,…]`, one task each; empty: the Host picks a node. */
  targets: z.array(z.string()).max(1000).default([]),
  /** CPUs to reserve, and the limit; 0 reserves nothing and sets no limit. */
  cores: z.int().min(0).max(4096).default(1),
  /** Limit and reservation; `null`: no limit, nothing reserved. */
  memoryBytes: z.int().min(6 * 1024 * 1024, 'is less than 6 MiB, the least the Engine takes').nullable().default(null),
  env: environmentVariables.default({}),
  /** `SRC:DST[:ro]`, below the roots of `docker.allowed_mounts`. */
  mounts: z.array(z.string()).max(64).default([]),
})
export type SubmitBody = z.infer<typeof submitBody>

export const task = z.object({
  id: z.string(),
  state: z.enum(taskStates),
  wish: z.enum(taskWishes),
  reason: z.enum(taskReasons).nullable(),
  /** One sentence for people about `reason`. */
  message: z.string().nullable(),
  exitCode: z.int().nullable(),
  node: z.string().nullable(),
  target: z.string().nullable(),
  environment: z.string(),
  version: z.int(),
  command: z.array(z.string()),
  env: z.record(z.string(), z.string()),
  mounts: z.array(z.string()),
  cores: z.int(),
  memoryBytes: bytes.nullable(),
  /** How far its version is, while the task is `syncing`. */
  sync: syncProgress.nullable(),
  submitted: time,
  started: time.nullable(),
  finished: time.nullable(),
})
export type Task = z.infer<typeof task>

/** What a submission would come to, now. */
export const submitPreview = z.object({
  environment: z.string(),
  version: z.int(),
  fileName: z.string(),
  tasks: z.array(z.object({
    target: z.string().nullable(),
    /** Where it would run: at once, or when it is its turn; `null`: shown by then. */
    node: z.string().nullable(),
    /** Its place in the queue; 0: it starts at once. */
    place: z.int().nonnegative(),
    /** What it would wait for. */
    message: z.string().nullable(),
    /** What the node would have to read of the version; `null` while the node is not known. */
    syncBytes: bytes.nullable(),
  })),
})
export type SubmitPreview = z.infer<typeof submitPreview>

export const submitResponse = z.object({ tasks: z.array(task) })

export const outputQuery = z.strictObject({
  /** First byte to send. */
  offset: z.coerce.number().int().min(0).default(0),
  /** Go on until the task has ended and everything was sent. */
  follow: z.stringbool().default(false),
})
