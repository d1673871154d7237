/**
 * By what the kernel's log tells the items in one container apart: a process has its `oom_score_adj` from the one that has started it, and the
 * kernel names it with the process that it ends. Where memory is limited the kernel looks for the process with the highest score, which is its memory and
 * this, in thousandths of the limit. So the numbers are those that follow on what makes items go before the agent, and the lowest first.
 */
export interface OomMark {
  /** `null`: it has the one of its container. */
  score: number | null
  /** What the kernel's log has up to this record was before the item. */
  after: number
}

/** Of this node. */
export interface OomScores {
  /** One that no other item has, if there is one left. The same for the same key. */
  take(key: string): number
  /** That of an item which runs. */
  keep(key: string, score: number): void
  free(key: string): void
}

/** More than the agent takes of the smallest limit that there is. Less needs rights that a container does not have. */
const SHARED = 600
/** More would make more of a difference than the memory of an item. */
const LAST = SHARED + 64

export function createOomScores(): OomScores {
  const scores = new Map<string, number>()

  return {
    take(key) {
      const taken = new Set(scores.values())
      let score = scores.get(key) ?? SHARED + 1
      while (!scores.has(key) && taken.has(score)) score++
      const own = score > LAST ? SHARED : score
      scores.set(key, own)
      return own
    },
    keep: (key, score) => void scores.set(key, score),
    free: (key) => void scores.delete(key),
  }
}

/** Whether a process with it is of an item. */
export function isOfItem(score: number | null | undefined): boolean {
  return score === SHARED || isOfOneItem(score)
}

export function isOfOneItem(score: number | null | undefined): boolean {
  return typeof score === 'number' && score > SHARED && score <= LAST
}
