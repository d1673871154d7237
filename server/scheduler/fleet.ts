import type { Demand } from './demand.ts'
import { better, type Hope } from './forecast.ts'
import { createRoom, fillRoom, type Room, takeRoom } from './room.ts'
import type { NodeState, PlacedTask } from './types.ts'

/** The nodes as a planner knows them, from pass to pass. */
export interface Fleet {
  /** By name. */
  rooms: readonly Room[]
  find(hostname: string): Room | undefined
  /** Takes over nodes that are other objects than before. Answers their rooms, or `null` if these are not the same nodes any more. */
  update(nodes: readonly NodeState[]): Room[] | null
  take(room: Room, task: PlacedTask): void
  /** Where a task that must wait could start first; `null`: nowhere, however long it waits. */
  soonest(demand: Demand): Hope | null
}

export function createFleet(nodes: readonly NodeState[]): Fleet {
  const rooms = nodes.toSorted((left, right) => (left.hostname < right.hostname ? -1 : 1)).map(createRoom)
  const byName = new Map(rooms.map((room) => [room.node.hostname, room]))
  const asGiven = nodes.map(({ hostname }) => byName.get(hostname))
  /** Rooms in the order of their changes, but for the first `forgotten`. */
  let log: Room[] = []
  let forgotten = 0

  function note(room: Room): void {
    if (log.push(room) < LOG_LENGTH) return
    forgotten += log.length
    log = []
  }

  return {
    rooms,
    find: (hostname) => byName.get(hostname),
    update(current) {
      if (current.length !== asGiven.length) return null
      const changed: Room[] = []
      for (let index = 0; index < current.length; index++) {
        const [node, room] = [current[index], asGiven[index]]
        if (!node || !room) return null
        if (node === room.node && !room.isStale) continue
        if (node.hostname !== room.node.hostname) return null
        fillRoom(room, node)
        note(room)
        changed.push(room)
      }
      return changed
    },
    take(room, task) {
      takeRoom(room, task)
      note(room)
    },
    soonest(demand) {
      const known = demand.soonest
      const changes = forgotten + log.length
      const since = known && known.changes >= forgotten && changes - known.changes < rooms.length ? log.slice(known.changes - forgotten) : null
      const canGoOn = since && known && (known.hope === null || !since.includes(known.hope.room))
      const hope = (canGoOn ? since : rooms).reduce<Hope | null>((best, room) => better(best, room, demand), canGoOn ? known.hope : null)
      demand.soonest = { hope, changes }
      return hope
    },
  }
}

// --- internal ---

const LOG_LENGTH = 1000
