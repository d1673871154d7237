import { HakuError } from '../errors.ts'
import { quote } from '../names.ts'

/** `from`, `from + step`, … `to`; `to` is one of them. */
export interface IndexRange {
  from: number
  to: number
  step: number
}

/** Indexes of items, each once. Ascending, and no range begins before the one ahead of it has ended: so a million of them is a line of text. */
export type IndexSet = readonly IndexRange[]

/** So many items a batch may have. */
export const MAX_ITEMS = 1_000_000

const RANGE_RE = /^(?<from>\d{1,9})(?:-(?<to>\d{1,9})(?::(?<step>\d{1,9}))?)?$/

/**
 * Reads `1-1000`, `1,3,7-9`, `0-100:10`. Indexes that stand there twice count once.
 *
 * @throws `task.items_invalid`
 */
export function parseIndexes(text: string): IndexSet {
  const ranges = text.split(',').map((part) => parseRange(part, text))
  ranges.sort((left, right) => left.from - right.from)
  if (ranges.some((range, index) => range.from <= (ranges[index - 1]?.to ?? -1))) return toIndexSet(expand(ranges))
  assertNotTooMany(countIndexes(ranges))
  return ranges
}

/** As {@link parseIndexes} reads it; empty for none. */
export function formatIndexes(set: IndexSet): string {
  return set.map(({ from, to, step }) => (from === to ? `${from}` : step === 1 ? `${from}-${to}` : `${from}-${to}:${step}`)).join(',')
}

/** Reads what {@link formatIndexes} wrote: empty for none. */
export function readIndexes(text: string): IndexSet {
  return text === '' ? [] : text.split(',').map((part) => parseRange(part, text))
}

/** `1` to `count`. */
export function firstIndexes(count: number): IndexSet {
  return count === 0 ? [] : [{ from: 1, to: count, step: 1 }]
}

/** How many indexes are in the set, without making a list of them. */
export function countIndexes(set: IndexSet): number {
  return set.reduce((sum, range) => sum + countOf(range), 0)
}

/** Whether this index is in the set. */
export function hasIndex(set: IndexSet, index: number): boolean {
  return set.some((range) => isIn(range, index))
}

/** How many indexes are ahead of this one, which must be in the set. */
export function positionOf(set: IndexSet, index: number): number {
  let position = 0
  for (const range of set) {
    if (isIn(range, index)) return position + (index - range.from) / range.step
    position += countOf(range)
  }
  throw new RangeError(`${index} is not among ${formatIndexes(set)}`)
}

/** The first `count` of them, and the others. */
export function takeIndexes(set: IndexSet, count: number): { taken: number[]; rest: IndexSet } {
  const taken: number[] = []
  for (const [place, { from, to, step }] of set.entries()) {
    const here = Math.min(count - taken.length, countOf({ from, to, step }))
    for (let nth = 0; nth < here; nth++) taken.push(from + nth * step)
    const next = from + here * step
    if (next <= to) return { taken, rest: [toRange(next, to, step), ...set.slice(place + 1)] }
  }
  return { taken, rest: [] }
}

/** Without this one. */
export function withoutIndex(set: IndexSet, index: number): IndexSet {
  return withoutIndexes(set, [index])
}

/** Without these, in any order. As cheap as they are many, however large the set is. */
export function withoutIndexes(set: IndexSet, indexes: Iterable<number>): IndexSet {
  const sorted = [...indexes].sort((left, right) => left - right)
  let next = 0
  return set.flatMap((range) => {
    const { to, step } = range
    const kept: IndexRange[] = []
    let from = range.from
    for (let index = sorted[next]; index !== undefined && index <= to; index = sorted[++next]) {
      if (index < from || !isIn(range, index)) continue
      if (index > from) kept.push(toRange(from, index - step, step))
      from = index + step
    }
    return from > to ? kept : [...kept, toRange(from, to, step)]
  })
}

/** All indexes, ascending. */
export function expand(set: IndexSet): number[] {
  assertNotTooMany(countIndexes(set))
  return set.flatMap(({ from, step, to }) => Array.from({ length: countOf({ from, to, step }) }, (_, nth) => from + nth * step))
}

/** The set of these indexes, in any order. */
export function toIndexSet(indexes: Iterable<number>): IndexSet {
  const sorted = [...new Set(indexes)].sort((left, right) => left - right)
  const ranges: IndexRange[] = []
  for (let start = 0; start < sorted.length; ) {
    const from = sorted[start] ?? 0
    const step = (sorted[start + 1] ?? from + 1) - from
    let length = 1
    while (sorted[start + length] === from + length * step) length++
    // Two that are far apart are no range: the second may begin one.
    if (length === 2 && step > 1) length = 1
    ranges.push(toRange(from, from + (length - 1) * step, step))
    start += length
  }
  return ranges
}

// --- internal ---

function parseRange(text: string, whole: string): IndexRange {
  const groups = RANGE_RE.exec(text)?.groups
  const from = Number(groups?.['from'])
  const last = Number(groups?.['to'] ?? from)
  const step = Number(groups?.['step'] ?? 1)
  if (!groups || last < from || step < 1) {
    throw new HakuError('task.items_invalid', `${quote(text)} in ${quote(whole.slice(0, 200))} is no list of indexes. Write such as 1-1000, 1,3,7-9 or 0-100:10, with numbers of nine digits at most.`)
  }
  return toRange(from, last - ((last - from) % step), step)
}

function toRange(from: number, to: number, step: number): IndexRange {
  return { from, to, step: from === to ? 1 : step }
}

function countOf({ from, to, step }: IndexRange): number {
  return (to - from) / step + 1
}

function isIn({ from, to, step }: IndexRange, index: number): boolean {
  return index >= from && index <= to && (index - from) % step === 0
}

function assertNotTooMany(count: number): void {
  if (count > MAX_ITEMS) throw new HakuError('task.items_invalid', `A batch of ${count} items is too large: ${MAX_ITEMS} is the most. Submit it in parts.`)
}
