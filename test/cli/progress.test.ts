import { expect, it } from 'vitest'
import { createProgressView, formatProgress } from '#cli/operations/progress.ts'
import type { OperationProgress } from '#core/api/schemas.ts'

const progress = (phase: string, bytes: number | null, totalBytes: number | null, message = ''): OperationProgress => ({ phase, bytes, totalBytes, message })

it.each([
  [progress('stop', null, null, 'stopping'), undefined, 'stop      stopping'],
  [progress('save', 1e9, 4e9, 'writing'), 120e6, 'save      [######------------------]  25%  1.00 GB of 4.00 GB  120 MB/s  25 s left'],
  [progress('write', 1e9, 40e9), 10e6, 'write     [#-----------------------]   2%  1.00 GB of 40.0 GB  10.0 MB/s  65 min left'],
  [progress('write', 0, 40e9), 1e6, 'write     [------------------------]   0%  0 B of 40.0 GB  1.00 MB/s  11 h 7 min left'],
  [progress('save', 0, 4e9), undefined, 'save      [------------------------]   0%  0 B of 4.00 GB'],
  [progress('save', 5e9, 4e9), undefined, 'save      [########################] 100%  5.00 GB of 4.00 GB'],
  [progress('pull', 2e6, null, '3 of 5 layers'), 1e6, 'pull      2.00 MB  1.00 MB/s  3 of 5 layers'],
  [progress('pull\u001B[2J', null, null, 'a\rb'), undefined, String.raw`pull\u001b[2J  a\u000db`],
])('%j as a line', (given, rate, expected) => {
  expect(formatProgress(given, rate)).toBe(expected)
})

it('redraws one line for each phase at a terminal, no wider than it', () => {
  let written = ''
  let time = 0
  const view = createProgressView({ isTTY: true, columns: 30, write: (text) => (written += text) }, () => time)
  view.update(progress('stop', null, null, 'stopping the container of the user'))
  view.update(progress('save', 0, 4e6))
  time = 2000
  view.update(progress('save', 2e6, 4e6))
  view.end()
  view.end()
  expect(written.split('\n').map((line) => line.split('\r\u001B[K'))).toEqual([
    ['', 'stop      stopping the contai'],
    ['', 'save      [------------------', 'save      [############------'],
    [''],
  ])
})

it('writes plain lines elsewhere', () => {
  let written = ''
  const view = createProgressView({ write: (text) => (written += text) })
  view.update(progress('stop', null, null, 'stopping'))
  view.update(progress('save', 0, 4e6))
  view.update(progress('save', 2e6, 4e6))
  view.say('a word')
  view.end()
  expect(written).toBe('stop  stopping\nsave  4.00 MB\na word\n')
})
