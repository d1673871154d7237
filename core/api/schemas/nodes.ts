import { z } from 'zod'
import { bytes, nodeName, text, time } from './common.ts'

export const numaNode = z.object({
  id: z.int().nonnegative(),
  /** As the kernel writes it: `0-3,8-11`. */
  cpus: z.string(),
  cores: z.int().positive(),
  memoryBytes: bytes,
})
export type NumaNode = z.infer<typeof numaNode>

export const gpu = z.object({
  /** As `nvidia-smi` counts, from 0. */
  id: z.int().nonnegative(),
  uuid: z.string().max(128),
  name: z.string().max(256),
  memoryBytes: bytes,
  numaNode: z.int().nullable(),
})
export type Gpu = z.infer<typeof gpu>

export const nodeHardware = z.object({
  cores: z.int().positive(),
  memoryBytes: bytes,
  /** Empty where the kernel knows of none. */
  numaNodes: z.array(numaNode).max(1024).default([]),
  gpus: z.array(gpu).max(1024).default([]),
  /** Whether it takes tasks without a container. */
  plainProcesses: z.boolean().default(false),
})
export type NodeHardware = z.infer<typeof nodeHardware>
export const nodeUsage = z.object({
  cpuPercent: z.number().nullable(),
  memoryUsedBytes: bytes.nullable(),
})
export const engineInfo = z.object({
  version: z.string(),
  storageDriver: z.string(),
  architecture: z.string(),
})

/** A version that a node's Engine holds. */
export const nodeImage = z.strictObject({ environment: z.string().max(64), version: z.int() })
export type NodeImage = z.infer<typeof nodeImage>

/** What a node has already, so that a load reads only the rest. */
export const nodeHoldings = z.strictObject({
  images: z.array(nodeImage),
  /** Chain ids of the layers that a load would not read: see `core/tarballs/chains`. */
  layers: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/)).max(20_000),
})
export type NodeHoldings = z.infer<typeof nodeHoldings>

export const node = z.object({
  hostname: z.string(),
  url: z.string(),
  state: z.enum(['online', 'offline']),
  lastHeartbeat: time,
  cores: z.int(),
  coresReserved: z.int(),
  memoryBytes: bytes,
  memoryReservedBytes: bytes,
  numaNodes: z.array(numaNode),
  gpus: z.array(gpu),
  gpusReserved: z.array(z.int()),
  plainProcesses: z.boolean(),
  /** It gets no more tasks. */
  drained: z.object({ since: time, reason: z.string() }).nullable(),
  /** Tasks that it was given and that have not ended. */
  tasks: z.int(),
  usage: nodeUsage,
  engine: engineInfo.nullable(),
  runnerVersion: z.string(),
  /** Environment versions that it needs not load any more. */
  images: z.array(nodeImage),
})
export type Node = z.infer<typeof node>

export const registerBody = z.strictObject({
  hostname: nodeName,
  url: z.url({ protocol: /^https?$/ }),
  /** Grows with each start of the Runner, so that a zombie can be told from its successor. */
  instanceId: z.string().min(1).max(64),
  /** What the Host shows when it calls this Runner. */
  hostToken: z.string().min(32).max(256).regex(/^[\x21-\x7e]+$/, 'has characters that no header can carry: letters, digits and signs of ASCII alone'),
  hardware: nodeHardware,
  engine: engineInfo.nullable(),
  runnerVersion: z.string().max(64),
  /** Left out while the Engine does not answer. */
  holdings: nodeHoldings.optional(),
})
export type RegisterBody = z.infer<typeof registerBody>
export const registerResponse = z.object({
  heartbeatSeconds: z.number().positive(),
})

export const heartbeatBody = z.strictObject({
  instanceId: z.string().min(1).max(64),
  usage: nodeUsage,
  engine: engineInfo.nullable(),
  /** Every unfinished or unacknowledged task the Runner knows. */
  tasks: z.array(z.strictObject({ id: z.string().max(64), instance: z.int() })),
  /** Left out: as told before. */
  holdings: nodeHoldings.optional(),
})
export type HeartbeatBody = z.infer<typeof heartbeatBody>
/** `wantsHoldings`: the Host has forgotten them, and they come with the next beat. */
export const heartbeatResponse = z.object({ wantsHoldings: z.boolean() })

/** Without a reason it keeps the one that it has. */
export const drainBody = z.strictObject({ reason: text.max(1024).optional() })
