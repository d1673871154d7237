import { afterEach, describe, expect, it, vi } from 'vitest'
import { formatTime, localTimes } from '#cli/framework/output.ts'
import { formatDuration, parseDuration } from '#cli/values/durations.ts'
import { parseFutureTime, parsePastTime } from '#cli/values/times.ts'

describe('durations', () => {
  it.each([
    ['90', 90], ['0.5', 0.5], ['2s', 2], ['10m', 600], ['1h30m', 5400], ['2d', 172_800], ['1d12h', 129_600], ['500ms', 0.5], ['1.5h', 5400],
    ['30:00', 1800], ['90:00', 5400], ['1:30:00', 5400], ['1-12', 129_600], ['1-12:30', 131_400], ['1-12:00:00', 129_600], ['2-00:00:01', 172_801],
  ])('%s is %d s', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds)
  })

  it.each(['', 's', '-5', '1x', '1h 30m', '1:2:3:4', '1:60', '1:99:00', '1-24', '1-1:60', '1m30', '1e3', '٣', 'Infinity', '1h1h', '1m1h', '1d2d', '1.h'])('%j is none', (text) => {
    expect(() => parseDuration(text)).toThrow('is not a duration')
  })

  it.each([[0, '0s'], [0.5, '0.5s'], [2, '2s'], [60, '1m'], [5400, '1h30m'], [129_601, '1d12h1s'], [600.25, '10m0.25s']])('%d s is %s, and back', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text)
    expect(parseDuration(text)).toBe(seconds)
  })
})

describe('times', () => {
  const now = new Date(2026, 1, 3, 14, 5, 6, 500)
  const local = (year: number, month: number, day: number, hours = 0, minutes = 0, seconds = 0) => new Date(year, month, day, hours, minutes, seconds).toISOString()

  it.each([
    ['now', now.toISOString()],
    ['now+10m', local(2026, 1, 3, 14, 15, 6).replace('.000', '.500')],
    ['14:06', local(2026, 1, 3, 14, 6)],
    ['14:05', local(2026, 1, 4, 14, 5)],
    ['9:00:30', local(2026, 1, 4, 9, 0, 30)],
    ['2026-02-05', local(2026, 1, 5)],
    ['2026-02-05T10:30', local(2026, 1, 5, 10, 30)],
    ['2026-02-05 10:30:15', local(2026, 1, 5, 10, 30, 15)],
    ['2026-02-05T10:30Z', '2026-02-05T10:30:00.000Z'],
    ['2026-02-05T10:30:00.25+02:00', '2026-02-05T08:30:00.250Z'],
    ['2028-02-29', local(2028, 1, 29)],
  ])('not before %s', (text, time) => {
    expect(parseFutureTime(text, now)).toBe(time)
  })

  it.each([
    ['1h', local(2026, 1, 3, 13, 5, 6).replace('.000', '.500')],
    ['2d', local(2026, 1, 1, 14, 5, 6).replace('.000', '.500')],
    ['today', local(2026, 1, 3)],
    ['yesterday', local(2026, 1, 2)],
    ['14:05', local(2026, 1, 3, 14, 5)],
    ['14:06', local(2026, 1, 2, 14, 6)],
    ['2026-02-01', local(2026, 1, 1)],
  ])('since %s', (text, time) => {
    expect(parsePastTime(text, now)).toBe(time)
  })

  it.each(['', 'soon', '25:00', '14:60', '2026-02-30', '2026-13-01', '2027-02-29', '2026-02-05T25:00', 'now+', 'now+x', 'now-1h', '2026', 'tomorrow'])('%j is none', (text) => {
    expect(() => parseFutureTime(text, now)).toThrow('is not a time')
    expect(() => parsePastTime(text, now)).toThrow('is not a time')
  })
})

describe('times for people', () => {
  afterEach(() => void vi.unstubAllEnvs())

  it.each([
    ['UTC', '2026-11-25 04:59:00+00:00'],
    ['America/New_York', '2026-11-24 23:59:00-05:00'],
    ['Asia/Kolkata', '2026-11-25 10:29:00+05:30'],
    ['America/St_Johns', '2026-11-25 01:29:00-03:30'],
  ])('are local, with the zone, and can be given back: %s', (zone, text) => {
    vi.stubEnv('TZ', zone)
    expect(formatTime('2026-11-25T04:59:00.000Z')).toBe(text)
    expect(localTimes('It starts at 2026-11-25T04:59:00.000Z, or later; before: 2026-11-25T04:59:00Z.')).toBe(`It starts at ${text}, or later; before: ${text}.`)
    expect(parsePastTime(text)).toBe('2026-11-25T04:59:00.000Z')
  })
})
