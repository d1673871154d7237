import { quote } from '#core/names.ts'
import { usage } from '../framework/parse.ts'
import { readDuration } from './durations.ts'

/** The next time that is meant, in UTC: `2026-02-03T14:00`, `2026-02-03T14:00Z`, `14:00`, `now`, `now+10m`. Without a zone it is local. @throws `usage.invalid` */
export function parseFutureTime(text: string, now = new Date()): string {
  const delay = /^now(?:\+(?<delay>.+))?$/.exec(text)
  const seconds = delay && readDuration(delay.groups?.['delay'] ?? '0')
  const time = delay ? after(now, seconds) : (readClockTime(text, now, 'next') ?? readDate(text))
  if (!time) throw usage(`${quote(text)} is not a time. Write such as 2026-02-03T14:00, 14:00 or now+10m.`)
  return time.toISOString()
}

/** The last time that is meant, in UTC: `2026-02-03`, `2026-02-03T14:00`, `14:00`, `1h` (ago), `2d`, `today`, `yesterday`. @throws `usage.invalid` */
export function parsePastTime(text: string, now = new Date()): string {
  const seconds = /[dhms]$/.test(text) ? readDuration(text) : undefined
  const time = seconds === undefined ? (readDay(text, now) ?? readClockTime(text, now, 'last') ?? readDate(text)) : after(now, -seconds)
  if (!time) throw usage(`${quote(text)} is not a time. Write such as 1h, 2d, 14:00, today, yesterday, 2026-02-03 or 2026-02-03T14:00.`)
  return time.toISOString()
}

// --- internal ---

const DATE_RE = /^(?<date>\d{4}-\d{2}-(?<day>\d{2}))(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})?)?$/

function after(now: Date, seconds: number | undefined | null): Date | undefined {
  const time = new Date(now.getTime() + (seconds ?? NaN) * 1000)
  return isNaN(time.getTime()) ? undefined : time
}

function readDay(text: string, now: Date): Date | undefined {
  const days = { today: 0, yesterday: -1 }[text]
  return days === undefined ? undefined : new Date(now.getFullYear(), now.getMonth(), now.getDate() + days)
}

/** A time of day, on the nearest day in this direction. */
function readClockTime(text: string, now: Date, direction: 'next' | 'last'): Date | undefined {
  const match = /^(?<hours>[01]?\d|2[0-3]):(?<minutes>[0-5]\d)(?::(?<seconds>[0-5]\d))?$/.exec(text)
  if (!match?.groups) return undefined
  const { hours, minutes, seconds = 0 } = match.groups
  const on = (day: number) => new Date(now.getFullYear(), now.getMonth(), now.getDate() + day, Number(hours), Number(minutes), Number(seconds))
  const today = on(0)
  if (direction === 'next') return today > now ? today : on(1)
  return today <= now ? today : on(-1)
}

/** A date alone begins at midnight here, not in Greenwich. A day that its month does not have is none. */
function readDate(text: string): Date | undefined {
  const groups = DATE_RE.exec(text)?.groups
  const { date, day } = groups ?? {}
  if (!date || new Date(`${date}T00:00Z`).getUTCDate() !== Number(day)) return undefined
  const time = new Date(text === date ? `${date}T00:00` : text.replace(' ', 'T'))
  return isNaN(time.getTime()) ? undefined : time
}
