import { createReadStream } from 'node:fs'
import type { Items } from '#core/api/schemas.ts'
import { errorMessage } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { MAX_ITEMS, parseIndexes } from '#core/tasks/index-set.ts'
import { indexesOf } from '#core/tasks/items.ts'
import { readOption } from '../framework/options.ts'
import { usage } from '../framework/parse.ts'
import { decodeText } from '../framework/raw-text.ts'
import { wholeNumber } from '../values/numbers.ts'
import { splitRaw, unquote } from '../values/words.ts'

/** What of a command line makes many tasks of one. */
export interface ItemArgs {
  array: string | undefined
  'each-line': string | undefined
  sweep: string[]
  parallel: string | undefined
}

export interface ItemsOfBatch {
  items: Items | null
  /** So many at a time. */
  parallel: number | null
}

/** The Host takes no more, and a body that is refused at its end was sent for nothing. */
const MAX_LINES_BYTES = 60 * 1024 * 1024

/** @throws `usage.invalid`, `task.items_invalid` */
export async function parseItems(args: ItemArgs): Promise<ItemsOfBatch> {
  const kinds = [args.array !== undefined && '--array', args['each-line'] !== undefined && '--each-line', args.sweep.length > 0 && '--sweep'].filter((kind) => kind !== false)
  if (kinds.length > 1) throw usage(`${kinds.join(' and ')} can not be given together: each says what the items are.`)
  const parallel = readOption('--parallel', args.parallel, atATime) ?? null
  if (args['each-line'] !== undefined) return { items: { kind: 'lines', lines: await readLines(args['each-line']) }, parallel }
  if (args.sweep.length > 0) return { items: { kind: 'sweep', parameters: parseSweep(args.sweep) }, parallel }
  return args.array === undefined ? { items: null, parallel } : parseArray(args.array, parallel)
}

// --- internal ---

const atATime = wholeNumber({ min: 1, max: MAX_ITEMS })

function parseArray(text: string, parallel: number | null): ItemsOfBatch {
  const match = /^(?<indexes>[^%]*)(?:%(?<limit>.*))?$/.exec(text)
  const { indexes = '', limit } = match?.groups ?? {}
  readOption('--array', indexes, parseIndexes)
  if (limit !== undefined && parallel !== null) throw usage(`--array ${quote(text)} and --parallel both say how many at a time.`)
  return { items: { kind: 'array', indexes }, parallel: readOption(`--array ${quote(text)}:`, limit, atATime) ?? parallel }
}

/** Lines without their ends; a file need not end with one. */
async function readLines(file: string): Promise<string[]> {
  const text = await readText(file)
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  if (lines.length === 0) throw usage(`--each-line ${quote(file)} has no line.`)
  if (lines.length > MAX_ITEMS) throw usage(`--each-line ${quote(file)} has ${lines.length} lines; ${MAX_ITEMS} are the most.`)
  if (text.includes('\0')) throw usage(`--each-line ${quote(file)} holds a NUL character, which no argument can have.`)
  return lines.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line))
}

async function readText(file: string): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of (file === '-' ? process.stdin : createReadStream(file)) as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > MAX_LINES_BYTES) throw new Error(`it has more than ${MAX_LINES_BYTES} bytes`)
      chunks.push(chunk)
    }
    const text = decodeText(Buffer.concat(chunks))
    if (text === undefined) throw new Error('it is not UTF-8')
    return text
  } catch (error) {
    throw usage(`--each-line ${quote(file)} can not be read: ${errorMessage(error)}.`, error)
  }
}

function parseParameter(word: string): { name: string; values: string[] } {
  const at = word.indexOf('=')
  const name = word.slice(0, Math.max(0, at))
  if (!/^[A-Za-z_]\w{0,63}$/.test(name)) throw usage(`--sweep ${quote(word)} is not NAME=VALUE,VALUE or NAME=FIRST..LAST.`)
  return { name, values: splitRaw('--sweep', word.slice(at + 1), /,/).flatMap((piece) => expand(word, piece)) }
}

function expand(word: string, piece: string): string[] {
  if (piece === '') throw usage(`--sweep ${quote(word)} has an empty value. Write '' if that is meant.`)
  const range = /^(?<first>-?\d{1,15})\.\.(?<last>-?\d{1,15})(?::(?<step>\d{1,15}))?$/.exec(piece)?.groups
  if (!range) return [unquote(piece)]
  const [first, last, step] = [Number(range['first']), Number(range['last']), Number(range['step'] ?? 1)]
  if (last < first || step < 1) throw usage(`--sweep ${quote(piece)} has no numbers: a range goes up.`)
  const count = Math.floor((last - first) / step) + 1
  if (count > MAX_ITEMS) throw usage(`--sweep ${quote(piece)} has ${count} numbers; ${MAX_ITEMS} tasks are the most.`)
  return Array.from({ length: count }, (_, index) => String(first + index * step))
}

/** `lr=0.1,0.01 seed=1..10`: values, and ranges of whole numbers. @throws `usage.invalid`, `task.items_invalid` */
function parseSweep(texts: readonly string[]): Extract<Items, { kind: 'sweep' }>['parameters'] {
  const words = texts.flatMap((text) => splitRaw('--sweep', text, /\s/).filter(Boolean))
  if (words.length === 0) throw usage('--sweep is empty. Write such as --sweep "lr=0.1,0.01 seed=1..10".')
  const parameters = words.map(parseParameter)
  readOption('--sweep', texts.join(' '), () => indexesOf({ kind: 'sweep', parameters }))
  return parameters
}
