import { once } from 'node:events'
import { printable } from '#core/names.ts'

/** Data, for standard output. All else is for {@link tell}. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain')
}

export function printLine(text: string): Promise<void> {
  return print(`${text}\n`)
}

export function printJson(value: unknown): Promise<void> {
  return printLine(JSON.stringify(value, null, 2))
}

/** One object for one, an array for several or none. */
export function printObjects(objects: readonly unknown[]): Promise<void> {
  return printJson(objects.length === 1 ? objects[0] : objects)
}

/** A line for the person at the terminal, on standard error. */
export function tell(text: string): void {
  process.stderr.write(`${printable(text)}\n`)
}

/** Columns for people. Nothing in a cell reaches the terminal as a command. */
export function formatTable(header: string[], rows: (string | number | null)[][]): string {
  const lines = [header, ...rows.map((row) => row.map((cell) => (cell === null || cell === '' ? '-' : printable(String(cell)))))]
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  return lines.map((line) => line.map((cell, column) => (column === header.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('   ')).join('\n')
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
