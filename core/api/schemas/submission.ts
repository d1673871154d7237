import { z } from 'zod'
import { COMMAND_LIMITS, MAX_WORD_BYTES } from '../../tasks/command-size.ts'
import { environmentName, text, time } from './common.ts'
import { versionInBody } from './environments.ts'

/** `<26 characters>`, and `.<index>` behind it for an item of a batch. */
export const taskId = z.string().regex(/^[0-9a-z]{26}(?:\.\d{1,9})?$/, 'not a task id')
/** One word. What its bytes come to is told by `core/tasks/command-size`. */
const argument = text.max(MAX_WORD_BYTES, `is longer than the kernel takes: ${COMMAND_LIMITS}. Put it into a file`)
const environmentVariables = z.record(text.min(1).max(1024), argument)
const shortText = text.max(256)

/** `ok`: it succeeded; `fail`: it ended otherwise; `any`: it ended. Of a batch: all of its items. */
export const dependency = z.strictObject({ on: z.enum(['ok', 'fail', 'any']), task: taskId })
export type Dependency = z.infer<typeof dependency>

/** What makes many tasks of one submission. Item variables arrive as environment variables, and replace `%{name}` in the command. */
export const items = z.discriminatedUnion('kind', [
  /** An item for each number: `1-1000`, `1,3,7-9`, `0-100:10`. Variable: `index`. */
  z.strictObject({ kind: z.literal('array'), indexes: z.string().min(1).max(65_536) }),
  /** An item for each line, counted from 1. Variable: `line`. */
  z.strictObject({ kind: z.literal('lines'), lines: z.array(argument).min(1).max(1_000_000) }),
  /** An item for each combination; the last name varies fastest. Variables: the names. */
  z.strictObject({ kind: z.literal('sweep'), parameters: z.array(z.strictObject({ name: z.string().regex(/^[A-Za-z_]\w{0,63}$/, 'is not a name'), values: z.array(argument).min(1).max(1_000_000) })).min(1).max(16) }),
])
export type Items = z.infer<typeof items>

/** `SIGTERM`, `SIGINT`, … as the kernel names them. */
export const signalName = z.enum(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGKILL'])
export type SignalName = z.infer<typeof signalName>

const MAX_USER_ID = 2 ** 31 - 1

function isUser(user: string): boolean {
  return user.split(':').every((id) => Number(id) <= MAX_USER_ID)
}

export const submitBody = z.strictObject({
  /** argv. No shell touches it. */
  command: z.array(argument).min(1).max(10_000).refine((argv) => argv[0] !== '', 'begins with an empty word'),
  /** `null`: no container, a plain process of a node that allows it. */
  environment: environmentName.nullable(),
  /** The current one unless said. */
  version: versionInBody.optional(),
  /** A repeated submission with the same key makes nothing, and is answered like the first. */
  key: text.min(8).max(64).optional(),
  /** For people. */
  name: shortText.default(''),
  /** Who submits; for people only. */
  submitter: text.max(128).default(''),
  /** `HOST[:NUMA][::GPU,…]`, one task each; empty: the Host picks a node. */
  targets: z.array(z.string()).max(1000).default([]),
  items: items.nullable().default(null),
  /** So many items of the batch at a time; `null`: as many as there is room for. */
  parallel: z.int().min(1).max(1_000_000).nullable().default(null),
  /** Items on one node share one container: see `docs/executions.md`. */
  pack: z.boolean().default(false),
  /** CPUs to reserve, and the limit; 0 reserves nothing and sets no limit. */
  cores: z.int().min(0).max(4096).default(1),
  /** Limit and reservation; `null`: no limit, nothing reserved. */
  memoryBytes: z.int().min(6 * 1024 * 1024, 'is less than 6 MiB, the least the Engine takes').nullable().default(null),
  /** So many GPUs of one node, picked by the Host. A target that names GPUs says it instead. */
  gpus: z.int().min(0).max(64).default(0),
  /** Least memory of each of them. */
  gpuMemoryBytes: z.int().positive().nullable().default(null),
  env: environmentVariables.default({}),
  /** `SRC:DST[:ro]`, below the roots of `docker.allowed_mounts`. */
  mounts: z.array(text).max(64).default([]),
  /** `UID[:GID]`; `null`: the Host's default, and without a container the Runner's user. */
  user: z.string().regex(/^\d{1,10}(?::\d{1,10})?$/, 'is not UID or UID:GID').refine(isUser, `has a number above ${MAX_USER_ID}, the last that an Engine takes`).nullable().default(null),
  /** `null`: the shared directory. */
  workdir: text.startsWith('/', 'is not an absolute path').max(4096).nullable().default(null),
  /** Docker network; `null`: the Host's default. */
  network: z.string().regex(/^[\w.-]{1,128}$/, 'is not a network').nullable().default(null),
  privileged: z.boolean().default(false),
  /** Higher goes first. */
  priority: z.int().min(-1000).max(1000).default(0),
  /** Stays in the queue until it is released. */
  hold: z.boolean().default(false),
  /** Not before. */
  at: time.nullable().default(null),
  after: z.array(dependency).max(1000).default([]),
  /** So many more executions after one that failed, was lost, or ran out of memory or time. */
  retries: z.int().min(0).max(1000).default(0),
  /** Seconds of running, pauses included, after which it is ended as `timed_out`. */
  timeLimitSeconds: z.number().positive().max(366 * 86_400).nullable().default(null),
  /** What a killed or timed out task gets first, and the seconds that it then has. */
  signal: signalName.default('SIGTERM'),
  graceSeconds: z.number().min(0).max(3600).default(10),
  /** The Host posts the ended task there. */
  notifyUrl: z.url({ protocol: /^https?$/ }).max(2048).nullable().default(null),
})
export type SubmitBody = z.infer<typeof submitBody>
/** As a client sends it: what has a default may be left out. */
export type SubmitInput = z.input<typeof submitBody>
