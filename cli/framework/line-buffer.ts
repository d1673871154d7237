/** Hands bytes on by whole lines, so that several sources share one output and none comes between another's. */
export interface LineBuffer {
  push(chunk: Buffer): Promise<void>
  /** What has no end of a line yet, with one. */
  end(): Promise<void>
}

const NEWLINE = 0x0a
const RETURN = 0x0d
const NEWLINE_BYTES = Buffer.from('\n')
/** A longer line is broken: it must not fill the memory. */
const MAX_LINE_BYTES = 1024 * 1024

/**
 * A carriage return ends a line too, as progress bars use it, unless a newline follows.
 *
 * @param write gets whole lines with their ends
 */
export function createLineBuffer(write: (lines: Buffer) => Promise<void>): LineBuffer {
  let parts: Buffer[] = []
  let length = 0

  function hold(bytes: Buffer): void {
    if (bytes.length > 0) parts.push(bytes)
    length += bytes.length
  }

  async function release(bytes: Buffer[]): Promise<void> {
    const lines = Buffer.concat([...parts, ...bytes])
    parts = []
    length = 0
    if (lines.length > 0) await write(lines)
  }

  return {
    async push(chunk) {
      // A return that was held back ends its line if no newline comes.
      if (parts.at(-1)?.at(-1) === RETURN && chunk[0] !== NEWLINE) await release([])
      const end = endOfLines(chunk)
      if (end > 0) await release([chunk.subarray(0, end)])
      hold(chunk.subarray(end))
      if (length > MAX_LINE_BYTES) await release([NEWLINE_BYTES])
    },
    end: () => release(length > 0 ? [NEWLINE_BYTES] : []),
  }
}

// --- internal ---

/** Behind the last end of a line; a return at the very end may yet be followed by its newline. */
function endOfLines(chunk: Buffer): number {
  const last = chunk.at(-1) === RETURN ? chunk.length - 1 : chunk.length
  return Math.max(chunk.lastIndexOf(NEWLINE), chunk.subarray(0, last).lastIndexOf(RETURN)) + 1
}
