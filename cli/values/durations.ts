import { quote } from '#core/names.ts'
import { usage } from '../framework/parse.ts'

const SECONDS = { d: 86_400, h: 3600, m: 60, s: 1, ms: 0.001 } as const
const units = ['d', 'h', 'm', 's', 'ms'] as const

const PLAIN_RE = /^\d+(?:\.\d+)?$/
/** From large to small, each once at most. */
const UNITS_RE = new RegExp(`^(?=.)${units.map((unit) => String.raw`(?:(?<${unit}>\d+(?:\.\d+)?)${unit})?`).join('')}$`)
/** As Slurm has it: `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes`, `days-hours:minutes:seconds`. */
const CLOCK_RE = /^(?:(?<days>\d+)-)?(?<parts>\d+(?::\d{1,2}){0,2})$/

/** Seconds of `text`, or nothing if it is no duration. */
export function readDuration(text: string): number | undefined {
  if (PLAIN_RE.test(text)) return Number(text)
  const parts = UNITS_RE.exec(text)?.groups
  return parts ? round(units.reduce((sum, unit) => sum + Number(parts[unit] ?? 0) * SECONDS[unit], 0)) : readClock(text)
}

/** Seconds of `text`. @throws `usage.invalid` */
export function parseDuration(text: string): number {
  const seconds = readDuration(text)
  if (seconds === undefined) throw usage(`${quote(text)} is not a duration. Write seconds, or such as 90s, 10m, 1h30m, 2d, 1:30:00 or 1-12:00:00.`)
  return seconds
}

/** Reads a duration of this range, in seconds. The reader throws `usage.invalid`. */
export function durationWithin({ min, max }: { min: number; max: number }): (text: string) => number {
  return (text) => {
    const seconds = parseDuration(text)
    if (!(seconds >= min && seconds <= max)) throw usage(`${quote(text)} is not a duration from ${formatDuration(min)} to ${formatDuration(max)}.`)
    return seconds
  }
}

/** `2s`, `1h30m`, `1d12h`: what {@link parseDuration} reads back as the same. */
export function formatDuration(seconds: number): string {
  let rest = seconds
  const text = (['d', 'h', 'm'] as const).map((unit) => {
    const count = Math.floor(rest / SECONDS[unit])
    rest -= count * SECONDS[unit]
    return count > 0 ? `${count}${unit}` : ''
  }).join('')
  return rest > 0 || text === '' ? `${text}${round(rest)}s` : text
}

// --- internal ---

function readClock(text: string): number | undefined {
  const groups = CLOCK_RE.exec(text)?.groups
  if (!groups) return undefined
  const { days, parts = '' } = groups
  const numbers = parts.split(':').map(Number)
  // Behind days the hours come first; else the seconds come last.
  const [hours = 0, minutes = 0, seconds = 0] = days === undefined && numbers.length < 3 ? [0, ...numbers] : numbers
  if (seconds > 59 || (minutes > 59 && (days !== undefined || numbers.length === 3)) || (days !== undefined && hours > 23)) return undefined
  return Number(days ?? 0) * SECONDS.d + hours * SECONDS.h + minutes * SECONDS.m + seconds
}

/** To milliseconds: sums of decimal fractions are not exact. */
function round(seconds: number): number {
  return Math.round(seconds * 1000) / 1000
}
