import { EventEmitter } from 'node:events'
import type { Kysely } from 'kysely'
import type { Execution, HeartbeatBody, RegisterBody } from '#core/api/schemas.ts'
import { errorMessage, HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import type { Tables } from '../database/tables.ts'
import { createTurns } from '../turns.ts'
import { fromRow, type NodeRecord, toHeld, toRecord, toRow } from './node-record.ts'
import { createSilence } from './silence.ts'

export type { NodeRecord } from './node-record.ts'

export interface Nodes {
  /** @throws `node.name_in_use` while another Runner of this name lives */
  register(body: RegisterBody): Promise<{ heartbeatSeconds: number }>
  /** @throws `node.not_found` if the Host does not know this Runner (any more): it registers again */
  heartbeat(hostname: string, body: HeartbeatBody): Promise<{ wantsHoldings: boolean }>
  list(): readonly NodeRecord[]
  find(hostname: string): NodeRecord | undefined
  /** @throws `node.not_found` */
  get(hostname: string): NodeRecord
  /** It was heard of: it lives. Throws `node.not_found` unless this very Runner is registered: what an ended one still sends is refused. */
  hear(hostname: string, instanceId: string): Promise<NodeRecord>
  /** The same, but for what tells nothing of its life. @throws `node.not_found` */
  assertInstance(hostname: string, instanceId: string): void
  /** Gives it no more tasks, until it is undrained: a new Runner of the name changes nothing. The time is that of the first call, the reason that of the last one that gave one. @throws `node.not_found` */
  drain(hostname: string, reason?: string): Promise<NodeRecord>
  /** @throws `node.not_found` */
  undrain(hostname: string): Promise<NodeRecord>
  /** Forgets it. @throws `node.not_found`, `node.online` */
  remove(hostname: string): Promise<void>
  events: EventEmitter<NodeEvents>
  close(): void
}

export interface NodeEvents {
  /** At each registration and return. */
  online: [NodeRecord]
  /** With every unfinished or unacknowledged execution that the node knows. */
  heartbeat: [NodeRecord, Execution[]]
  /** At the beginning of a silence, and again and again while it goes on. */
  offline: [NodeRecord]
  /** It was drained, or is so no longer. */
  drain: [NodeRecord]
  /** It is known no more. */
  removed: [NodeRecord]
}

export interface NodesOptions {
  database: Kysely<Tables>
  heartbeatSeconds: number
  timeoutFactor: number
}

/** Loads the known nodes. Each that was online gets a full time-out to be heard of, since the Host itself was away. */
export async function createNodes({ database, heartbeatSeconds, timeoutFactor }: NodesOptions): Promise<Nodes> {
  const timeoutMs = heartbeatSeconds * timeoutFactor * 1000
  const rows = await database.selectFrom('nodes').selectAll().execute()
  const records = new Map(rows.map((row) => [row.hostname, fromRow(row)]))
  const events = new EventEmitter<NodeEvents>()
  const silence = createSilence({ intervalMs: Math.min(heartbeatSeconds * 1000, 5000), timeoutMs, onSilent })
  for (const hostname of records.keys()) silence.heard(hostname)

  function onSilent(hostname: string): void {
    const record = records.get(hostname)
    if (!record) return
    const wasOnline = record.online
    record.online = false
    events.emit('offline', record)
    if (!wasOnline) return
    console.error(`[hakuriver] [nodes] ${hostname} has been silent for ${timeoutMs / 1000} s: offline`)
    // Afterwards: a Host that dies between the two tells it again. One that was removed or came back meanwhile is another story.
    void inTurn(async () => {
      if (records.get(hostname) === record && !record.online) await store(record)
    }).catch((error: unknown) => console.error(`[hakuriver] [nodes] that ${hostname} is offline could not be stored: ${errorMessage(error)}`))
  }

  function registered(hostname: string): NodeRecord {
    const record = records.get(hostname)
    if (!record) throw new HakuError('node.not_found', `There is no node ${quote(hostname)}. See "hakuriver.client nodes".`)
    return record
  }

  /** Sorted once for all who ask until there are others: each submission does. */
  let sorted: readonly NodeRecord[] | undefined

  function list(): readonly NodeRecord[] {
    sorted ??= [...records.values()].sort((left, right) => left.hostname.localeCompare(right.hostname))
    return sorted
  }

  function assertInstance(hostname: string, instanceId: string): void {
    if (registered(hostname).instanceId !== instanceId) throw new HakuError('node.not_found', `Another start of the Runner on ${quote(hostname)} is registered. Register again.`)
  }

  async function hear(hostname: string, instanceId: string): Promise<NodeRecord> {
    assertInstance(hostname, instanceId)
    silence.heard(hostname)
    if (!registered(hostname).online) await inTurn(() => bringBack(hostname, instanceId))
    return Object.assign(registered(hostname), { lastHeartbeat: new Date() })
  }

  /** It is online once that is stored: if it can not be, its next beat tries again. */
  async function bringBack(hostname: string, instanceId: string): Promise<void> {
    // It may have been removed meanwhile, or another Runner may have registered.
    assertInstance(hostname, instanceId)
    const record = registered(hostname)
    if (record.online) return
    await store({ ...record, online: true })
    record.online = true
    events.emit('online', record)
  }

  async function store(record: NodeRecord): Promise<void> {
    const values = toRow(record)
    await database.insertInto('nodes').values(values).onConflict((conflict) => conflict.column('hostname').doUpdateSet(values)).execute()
  }

  const turns = createTurns()
  /** Changes that come together are made one after the other: on the disk first, then for all to see. */
  const inTurn = <T>(change: () => Promise<T>) => turns.take('nodes', change)

  function setDrained(hostname: string, change: (before: NodeRecord['drained']) => NodeRecord['drained']): Promise<NodeRecord> {
    return inTurn(async () => {
      const drained = change(registered(hostname).drained)
      await store({ ...registered(hostname), drained })
      const record = registered(hostname)
      record.drained = drained
      events.emit('drain', record)
      return record
    })
  }

  return {
    events,
    list,
    find: (hostname) => records.get(hostname),
    get: registered,
    hear,
    assertInstance,
    register: (body) => inTurn(async () => {
      const existing = records.get(body.hostname)
      if (existing?.online && existing.instanceId !== body.instanceId && existing.url !== body.url) {
        throw new HakuError('node.name_in_use', `A node ${quote(body.hostname)} lives at ${existing.url}, last heard of at ${existing.lastHeartbeat.toISOString()}. Give this one another name: runner.hostname in its configuration.`)
      }
      const record = toRecord(body, existing)
      await store(record)
      records.set(body.hostname, record)
      sorted = undefined
      silence.heard(body.hostname)
      events.emit('online', record)
      return { heartbeatSeconds }
    }),
    async heartbeat(hostname, { instanceId, usage, engine, tasks, holdings }) {
      const record = await hear(hostname, instanceId)
      Object.assign(record, { usage, engine, ...(holdings && toHeld(holdings)) })
      events.emit('heartbeat', record, tasks)
      return { wantsHoldings: !record.hasTold }
    },
    drain: (hostname, reason) => setDrained(hostname, (before) => ({ since: before?.since ?? new Date().toISOString(), reason: reason ?? before?.reason ?? '' })),
    undrain: (hostname) => setDrained(hostname, () => null),
    remove: (hostname) => inTurn(async () => {
      const record = registered(hostname)
      if (record.online) throw new HakuError('node.online', `The node ${quote(hostname)} is online. Stop its Runner first, and wait until it is offline (${timeoutMs / 1000} s); to give it no more tasks, drain it.`)
      await database.deleteFrom('nodes').where('hostname', '=', hostname).execute()
      records.delete(hostname)
      sorted = undefined
      silence.forget(hostname)
      events.emit('removed', record)
    }),
    close: () => silence.close(),
  }
}
