import { once } from 'node:events'
import { printable } from '#core/names.ts'

const NEWLINE = 0x0a

type TableRows = readonly (readonly (string | number | null)[])[]

/** Data, for standard output. All else is for {@link tell}. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain')
}

/** Whether what was shown last on standard error has not ended its line. */
let isLineOpen = false

/** What is shown as it came, on standard error. */
export async function printError(data: Uint8Array): Promise<void> {
  isLineOpen = data.at(-1) !== NEWLINE
  if (!process.stderr.write(data)) await once(process.stderr, 'drain')
}

export function printLine(text: string): Promise<void> {
  return print(`${text}\n`)
}

export function printJson(value: unknown): Promise<void> {
  return printLine(JSON.stringify(value, null, 2))
}

/** One object where one was asked for, an array otherwise. */
export function printObjects(objects: readonly unknown[], asked = objects.length): Promise<void> {
  return printJson(asked === 1 ? objects[0] : objects)
}

/** A line of its own for the person at the terminal, on standard error. */
export function tell(text: string): void {
  process.stderr.write(`${isLineOpen ? '\n' : ''}${printable(text)}\n`)
  isLineOpen = false
}

/** Columns for people. Nothing in a cell reaches the terminal as a command. */
export function formatTable(header: string[], rows: (string | number | null)[][]): string {
  const table = createTable(header)
  return [table.header(rows), ...table.lines(rows)].join('\n')
}

/** A table whose rows come bit by bit: a column grows when a wider cell comes, and never shrinks. */
export function createTable(header: string[]): { header(rows: TableRows): string; lines(rows: TableRows): string[] } {
  const widths = header.map((cell) => cell.length)
  const line = (cells: readonly string[]) => cells.map((cell, column) => (column === header.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('   ')

  function fit(rows: TableRows): string[][] {
    const cells = rows.map((row) => row.map((cell) => (cell === null || cell === '' ? '-' : printable(String(cell)))))
    for (const row of cells) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)))
    return cells
  }

  return {
    /** As wide as these rows need. */
    header(rows) {
      fit(rows)
      return line(header)
    },
    lines: (rows) => fit(rows).map(line),
  }
}

/** A line for each fact that there is, the names in one column. Nothing in them reaches the terminal as a command. */
export function formatFacts(facts: readonly (readonly [label: string, value: string | number | null])[]): string {
  return facts.filter(([, value]) => value !== null && value !== '').map(([label, value]) => `${`${label}:`.padEnd(13)}${printable(String(value))}`).join('\n')
}

/** `2026-02-03 14:05:09-05:00`: in local time, and as `--since` and `--at` take it. */
export function formatTime(iso: string | null): string {
  if (iso === null) return '-'
  const time = new Date(iso)
  const minutes = -time.getTimezoneOffset()
  const zone = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60].map((part) => String(part).padStart(2, '0')).join(':')
  return `${time.toLocaleString('sv-SE')}${minutes < 0 ? '-' : '+'}${zone}`
}

/** A sentence of the Host's, with its times as {@link formatTime} has them. */
export function localTimes(text: string): string {
  return text.replace(/\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,3})?Z/g, formatTime)
}

/** How much `stream` shows at once. One that knows no size says 0. */
export function terminalSize({ columns, rows }: { columns?: number; rows?: number }): { columns: number; rows: number } {
  return { columns: columns || 80, rows: rows || 24 }
}

/** Everything written has reached the system: only then may the process exit. */
export async function flush(): Promise<void> {
  await Promise.all([process.stdout, process.stderr].map((stream) => new Promise<void>((resolve) => {
    if (stream.destroyed || stream.writableLength === 0) resolve()
    else stream.write('', () => resolve())
  })))
}
