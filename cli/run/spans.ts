import { quote } from '#core/names.ts'
import { usage } from '../framework/parse.ts'

const MAX_RUNS = 1_000_000

/**
 * One argv for each combination: `span:{1..3}` stands for whole numbers, both ends included, `span:[a,b]` for words; the last one varies
 * fastest. Of `span:x` only `x` is left.
 *
 * @throws `usage.invalid`
 */
export function expandSpans(argv: readonly string[]): string[][] {
  const choices = argv.map(readSpan)
  const count = choices.reduce((product, { length }) => product * length, 1)
  if (count > MAX_RUNS) throw usage(`That makes ${count} runs; ${MAX_RUNS} are the most.`)
  return choices.reduce<string[][]>((heads, words) => heads.flatMap((head) => words.map((word) => [...head, word])), [[]])
}

// --- internal ---

const PREFIX = 'span:'

function readSpan(word: string): string[] {
  if (!word.startsWith(PREFIX)) return [word]
  const span = word.slice(PREFIX.length)
  if (span.startsWith('{')) return readRange(word, span)
  if (span.startsWith('[')) return readWords(word, span)
  return [span]
}

function readRange(word: string, span: string): string[] {
  const groups = /^\{(?<first>-?\d{1,15})\.\.(?<last>-?\d{1,15})\}$/.exec(span)?.groups
  if (!groups) throw usage(`${quote(word)} is not span:{FIRST..LAST} with whole numbers.`)
  const [first, last] = [Number(groups['first']), Number(groups['last'])]
  if (last < first) throw usage(`${quote(word)} has no numbers: a range goes up.`)
  if (last - first >= MAX_RUNS) throw usage(`${quote(word)} has ${last - first + 1} numbers; ${MAX_RUNS} runs are the most.`)
  return Array.from({ length: last - first + 1 }, (_, index) => String(first + index))
}

function readWords(word: string, span: string): string[] {
  if (!span.endsWith(']')) throw usage(`${quote(word)} is not span:[WORD,WORD].`)
  const inside = span.slice(1, -1)
  if (inside === '') throw usage(`${quote(word)} has no words.`)
  return inside.split(',')
}
