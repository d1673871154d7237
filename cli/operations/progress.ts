import type { OperationProgress } from '#core/api/schemas.ts'
import { printable } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { terminalSize } from '../framework/output.ts'

/** Shows how an operation goes on. */
export interface ProgressView {
  update(progress: OperationProgress): void
  /** A line beside the progress. */
  say(text: string): void
  /** The last state stays, further output begins on a line of its own. */
  end(): void
}

export interface ProgressStream {
  isTTY?: boolean
  columns?: number
  write(text: string): unknown
}

/** A bar that is redrawn where `stream` is a terminal, one line for each phase elsewhere. */
export function createProgressView(stream: ProgressStream, now: () => number = Date.now): ProgressView {
  return stream.isTTY ? createBar(stream, now) : createLines(stream)
}

/** One line about a phase: `write  [#####---------------]  25%  1.00 GB of 4.00 GB  120 MB/s  25 s left`. */
export function formatProgress(progress: OperationProgress, bytesPerSecond: number | undefined): string {
  const { phase, bytes, totalBytes, message } = progress
  const parts = [printable(phase).padEnd(8)]
  if (bytes !== null && totalBytes) {
    const part = Math.min(1, bytes / totalBytes)
    const done = Math.round(part * BAR_WIDTH)
    parts.push(`[${'#'.repeat(done)}${'-'.repeat(BAR_WIDTH - done)}] ${String(Math.floor(part * 100)).padStart(3)}%`, `${formatSize(bytes)} of ${formatSize(totalBytes)}`)
  } else if (bytes !== null) parts.push(formatSize(bytes))
  if (bytes !== null && bytesPerSecond !== undefined) parts.push(`${formatSize(Math.round(bytesPerSecond))}/s`)
  if (bytes !== null && totalBytes && bytesPerSecond && bytes < totalBytes) parts.push(`${formatSeconds((totalBytes - bytes) / bytesPerSecond)} left`)
  if (bytes === null || !totalBytes) parts.push(printable(message))
  return parts.filter(Boolean).join('  ').trimEnd()
}

// --- internal ---

/** `45 s`, `3 min`, `2 h 5 min`: no finer than anybody can foretell. */
function formatSeconds(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

const BAR_WIDTH = 24
const CLEAR_LINE = '\r\u001B[K'

function createBar(stream: ProgressStream, now: () => number): ProgressView {
  let phase: string | undefined
  let begun = { time: 0, bytes: 0 }
  let drawn = false

  return {
    update(progress) {
      if (progress.phase !== phase) {
        if (phase !== undefined) stream.write('\n')
        phase = progress.phase
        begun = { time: now(), bytes: progress.bytes ?? 0 }
      }
      const seconds = (now() - begun.time) / 1000
      const rate = progress.bytes !== null && seconds >= 0.5 ? (progress.bytes - begun.bytes) / seconds : undefined
      stream.write(`${CLEAR_LINE}${formatProgress(progress, rate).slice(0, terminalSize(stream).columns - 1)}`)
      drawn = true
    },
    say(text) {
      stream.write(`${drawn ? '\n' : ''}${printable(text)}\n`)
      drawn = false
    },
    end() {
      if (drawn) stream.write('\n')
      drawn = false
    },
  }
}

function createLines(stream: ProgressStream): ProgressView {
  let phase: string | undefined
  return {
    update(progress) {
      if (progress.phase === phase) return
      phase = progress.phase
      const { totalBytes } = progress
      stream.write(`${[printable(phase), printable(progress.message), totalBytes ? formatSize(totalBytes) : ''].filter(Boolean).join('  ')}\n`)
    },
    say(text) {
      stream.write(`${printable(text)}\n`)
    },
    end() {},
  }
}
