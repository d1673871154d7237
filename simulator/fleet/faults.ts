import type { Random } from '../random.ts'

/** What goes wrong between Host and nodes, as chances from 0 to 1. May be changed at any time. */
export interface Faults {
  /** Of the Host's calls: cut before the node has heard them. */
  dropRequests: number
  /** Of the Host's calls: taken in, and cut instead of answered. */
  dropAnswers: number
  /** Of the nodes' own calls (registrations, beats, reports): the Host's answer is lost. */
  dropReplies: number
  /** Each answer of a node waits so long: from, to, in ms. */
  delayMs: readonly [number, number]
}

export const NO_FAULTS: Faults = { dropRequests: 0, dropAnswers: 0, dropReplies: 0, delayMs: [0, 0] }

/** The faults of one node: its own where they are set, else those of the fleet. */
export interface Dice {
  happens(what: Exclude<keyof Faults, 'delayMs'>): boolean
  delayMs(): number
}

export function createDice(random: Random, fleet: Readonly<Faults>, own: Readonly<Partial<Faults>>): Dice {
  return {
    happens: (what) => {
      const chance = own[what] ?? fleet[what]
      return chance > 0 && random.next() < chance
    },
    delayMs: () => {
      const [from, to] = own.delayMs ?? fleet.delayMs
      return from + random.next() * (to - from)
    },
  }
}
