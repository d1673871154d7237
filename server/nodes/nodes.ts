import { EventEmitter } from 'node:events'
import type { Kysely } from 'kysely'
import type { HeartbeatBody, Node, NodeHoldings, NodeImage, RegisterBody } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import type { NodeRow, Tables } from '../database/tables.ts'

/** A node as the Host keeps it. Times are of the Host's clock: a node's own may be wrong. */
export interface NodeRecord {
  hostname: string
  url: string
  hostToken: string
  instanceId: string
  lastHeartbeat: Date
  online: boolean
  cores: number
  memoryBytes: number
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

export interface Nodes {
  /** @throws `node.name_in_use` while another Runner of this name lives */
  register(body: RegisterBody): Promise<{ heartbeatSeconds: number }>
  /** @throws `node.not_found` if the Host does not know this Runner (any more): it registers again */
  heartbeat(hostname: string, body: HeartbeatBody): Promise<{ wantsHoldings: boolean }>
  list(): NodeRecord[]
  find(hostname: string): NodeRecord | undefined
  /** @throws `node.not_found` */
  get(hostname: string): NodeRecord
  /** Throws `node.not_found` unless this very Runner is registered: what an ended one still sends is refused. */
  assertInstance(hostname: string, instanceId: string): void
  /** `online` (record) at each registration and return, `heartbeat` (record, task ids), `offline` (record). */
  events: EventEmitter<NodeEvents>
  close(): void
}

export interface NodeEvents {
  online: [NodeRecord]
  heartbeat: [NodeRecord, string[]]
  offline: [NodeRecord]
}

export interface NodesOptions {
  database: Kysely<Tables>
  heartbeatSeconds: number
  timeoutFactor: number
}

/** Loads the known nodes. Each gets a full time-out to be heard of, since the Host itself was away. */
export async function createNodes({ database, heartbeatSeconds, timeoutFactor }: NodesOptions): Promise<Nodes> {
  const timeoutMs = heartbeatSeconds * timeoutFactor * 1000
  const rows = await database.selectFrom('nodes').selectAll().execute()
  const records = new Map(rows.map((row) => [row.hostname, fromRow(row)]))
  const events = new EventEmitter<NodeEvents>()

  const sweep = setInterval(() => {
    for (const record of records.values()) {
      if (!record.online || Date.now() - record.lastHeartbeat.getTime() < timeoutMs) continue
      record.online = false
      console.error(`[hakuriver] [nodes] ${record.hostname} has been silent for ${timeoutMs / 1000} s: offline`)
      events.emit('offline', record)
    }
  }, Math.min(heartbeatSeconds * 1000, 5000))
  sweep.unref()

  function registered(hostname: string): NodeRecord {
    const record = records.get(hostname)
    if (!record) throw new HakuError('node.not_found', `There is no node ${quote(hostname)}. See "hakuriver.client nodes".`)
    return record
  }

  function assertInstance(hostname: string, instanceId: string): void {
    if (registered(hostname).instanceId !== instanceId) throw new HakuError('node.not_found', `Another start of the Runner on ${quote(hostname)} is registered. Register again.`)
  }

  async function store(record: NodeRecord): Promise<void> {
    const values = toRow(record)
    await database.insertInto('nodes').values(values).onConflict((conflict) => conflict.column('hostname').doUpdateSet(values)).execute()
  }

  return {
    events,
    list: () => [...records.values()].sort((left, right) => left.hostname.localeCompare(right.hostname)),
    find: (hostname) => records.get(hostname),
    get: registered,
    assertInstance,
    async register(body) {
      const existing = records.get(body.hostname)
      if (existing?.online && existing.instanceId !== body.instanceId && existing.url !== body.url) {
        throw new HakuError('node.name_in_use', `A node ${quote(body.hostname)} lives at ${existing.url}, last heard of at ${existing.lastHeartbeat.toISOString()}. Give this one another name: runner.hostname in its configuration.`)
      }
      const { hardware, holdings, ...rest } = body
      const record: NodeRecord = { ...rest, ...hardware, ...toHeld(holdings), lastHeartbeat: new Date(), online: true, usage: { cpuPercent: null, memoryUsedBytes: null } }
      records.set(body.hostname, record)
      await store(record)
      events.emit('online', record)
      return { heartbeatSeconds }
    },
    async heartbeat(hostname, { instanceId, usage, engine, tasks, holdings }) {
      assertInstance(hostname, instanceId)
      const record = registered(hostname)
      const wasOnline = record.online
      Object.assign(record, { usage, engine, ...(holdings && toHeld(holdings)), lastHeartbeat: new Date(), online: true })
      if (!wasOnline) {
        await store(record)
        events.emit('online', record)
      }
      events.emit('heartbeat', record, tasks)
      return { wantsHoldings: !record.hasTold }
    },
    close: () => clearInterval(sweep),
  }
}

// --- internal ---

function toHeld(holdings: NodeHoldings | undefined): Pick<NodeRecord, 'images' | 'layers' | 'hasTold'> {
  return { images: holdings?.images ?? [], layers: new Set(holdings?.layers), hasTold: holdings !== undefined }
}

function fromRow(row: NodeRow): NodeRecord {
  return {
    hostname: row.hostname,
    url: row.url,
    hostToken: row.host_token,
    instanceId: row.instance_id,
    lastHeartbeat: new Date(),
    online: true,
    ...(JSON.parse(row.hardware) as { cores: number; memoryBytes: number }),
    usage: JSON.parse(row.usage) as Node['usage'],
    engine: row.engine === null ? null : (JSON.parse(row.engine) as Node['engine']),
    runnerVersion: row.runner_version,
    ...toHeld(undefined),
  }
}

function toRow(record: NodeRecord): NodeRow {
  return {
    hostname: record.hostname,
    url: record.url,
    host_token: record.hostToken,
    instance_id: record.instanceId,
    last_heartbeat: record.lastHeartbeat.toISOString(),
    hardware: JSON.stringify({ cores: record.cores, memoryBytes: record.memoryBytes }),
    usage: JSON.stringify(record.usage),
    engine: record.engine === null ? null : JSON.stringify(record.engine),
    runner_version: record.runnerVersion,
  }
}
