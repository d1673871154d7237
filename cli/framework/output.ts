import { once } from 'node:events'
import { printable } from '#core/names.ts'

type TableRows = readonly (readonly (string | number | null)[])[]

/** Data, for standard output. All else is for {@link tell}. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain')
}

/** What is shown as it came, on standard error. */
export async function printError(data: Uint8Array): Promise<void> {
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

/** A line for the person at the terminal, on standard error. */
export function tell(text: string): void {
  process.stderr.write(`${printable(text)}\n`)
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

/** `2026-02-03 14:05:09` in local time. */
export function formatTime(iso: string | null): string {
  return iso === null ? '-' : new Date(iso).toLocaleString('sv-SE')
}

/** Everything written has reached the system: only then may the process exit. */
export async function flush(): Promise<void> {
  await Promise.all([process.stdout, process.stderr].map((stream) => new Promise<void>((resolve) => {
    if (stream.destroyed || stream.writableLength === 0) resolve()
    else stream.write('', () => resolve())
  })))
}
