import { createRoom, fillRoom, type Room } from './room.ts'
import type { NodeState } from './types.ts'

/** The nodes as a planner knows them, from pass to pass. */
export interface Fleet {
  /** By name. */
  rooms: readonly Room[]
  find(hostname: string): Room | undefined
  /** Takes over nodes that are other objects than before. Answers their rooms, or `null` if these are not the same nodes any more. */
  update(nodes: readonly NodeState[]): Room[] | null
}

export function createFleet(nodes: readonly NodeState[]): Fleet {
  const rooms = nodes.toSorted((left, right) => (left.hostname < right.hostname ? -1 : 1)).map(createRoom)
  const byName = new Map(rooms.map((room) => [room.node.hostname, room]))
  const asGiven = nodes.map(({ hostname }) => byName.get(hostname))
  return {
    rooms,
    find: (hostname) => byName.get(hostname),
    update(current) {
      if (current.length !== asGiven.length) return null
      const changed: Room[] = []
      for (const [index, room] of asGiven.entries()) {
        const node = current[index]
        if (!room || node?.hostname !== room.node.hostname) return null
        if (node === room.node && !room.isStale) continue
        fillRoom(room, node)
        changed.push(room)
      }
      return changed
    },
  }
}
