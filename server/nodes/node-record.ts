import { type Node, type NodeHardware, nodeHardware, type NodeHoldings, type NodeImage, type RegisterBody } from '#core/api/schemas.ts'
import type { NodeRow } from '../database/tables.ts'

/** A node as the Host keeps it. Times are of the Host's clock: a node's own may be wrong. */
export interface NodeRecord extends NodeHardware {
  hostname: string
  url: string
  hostToken: string
  instanceId: string
  /** For people: nothing is decided by it. */
  lastHeartbeat: Date
  online: boolean
  /** Gets no more tasks, whatever Runner registers under the name. */
  drained: Node['drained']
  usage: Node['usage']
  engine: Node['engine']
  runnerVersion: string
  /** Versions that it has. Told by the node and kept in memory alone, as {@link layers} is: it tells again after a start of the Host. */
  images: readonly NodeImage[]
  /** Chain ids of layers that it has. */
  layers: ReadonlySet<string>
  /** Whether it has told them. */
  hasTold: boolean
}

/** What tasks have reserved on a node. */
export interface Reserved {
  cores: number
  memoryBytes: number
  gpuIds: number[]
  /** How many tasks. */
  tasks: number
}

/** The API's object. */
export function toNode(record: NodeRecord, reserved: Reserved): Node {
  const { hostname, url, online, lastHeartbeat, cores, memoryBytes, numaNodes, gpus, plainProcesses, drained, usage, engine, runnerVersion, images } = record
  return {
    hostname, url, state: online ? 'online' : 'offline', lastHeartbeat: lastHeartbeat.toISOString(), cores, coresReserved: reserved.cores, memoryBytes, memoryReservedBytes: reserved.memoryBytes,
    numaNodes, gpus, gpusReserved: reserved.gpuIds.toSorted((left, right) => left - right), plainProcesses, drained, tasks: reserved.tasks, usage, engine, runnerVersion, images: [...images],
  }
}

/** What a registration tells, on top of what is known under the name. */
export function toRecord({ hardware, holdings, ...rest }: RegisterBody, known: NodeRecord | undefined): NodeRecord {
  return { ...rest, ...hardware, ...toHeld(holdings), lastHeartbeat: new Date(), online: true, drained: known?.drained ?? null, usage: { cpuPercent: null, memoryUsedBytes: null } }
}

export function toHeld(holdings: NodeHoldings | undefined): Pick<NodeRecord, 'images' | 'layers' | 'hasTold'> {
  return { images: holdings?.images ?? [], layers: new Set(holdings?.layers), hasTold: holdings !== undefined }
}

export function fromRow(row: NodeRow): NodeRecord {
  return {
    hostname: row.hostname,
    url: row.url,
    hostToken: row.host_token,
    instanceId: row.instance_id,
    lastHeartbeat: new Date(row.last_heartbeat),
    online: row.online === 1,
    drained: row.drained === null ? null : (JSON.parse(row.drained) as Node['drained']),
    ...nodeHardware.parse(JSON.parse(row.hardware)),
    usage: JSON.parse(row.usage) as Node['usage'],
    engine: row.engine === null ? null : (JSON.parse(row.engine) as Node['engine']),
    runnerVersion: row.runner_version,
    ...toHeld(undefined),
  }
}

export function toRow(record: NodeRecord): NodeRow {
  const { cores, memoryBytes, numaNodes, gpus, plainProcesses } = record
  return {
    hostname: record.hostname,
    url: record.url,
    host_token: record.hostToken,
    instance_id: record.instanceId,
    last_heartbeat: record.lastHeartbeat.toISOString(),
    hardware: JSON.stringify({ cores, memoryBytes, numaNodes, gpus, plainProcesses } satisfies NodeHardware),
    usage: JSON.stringify(record.usage),
    engine: record.engine === null ? null : JSON.stringify(record.engine),
    runner_version: record.runnerVersion,
    drained: record.drained && JSON.stringify(record.drained),
    online: record.online ? 1 : 0,
  }
}
