import { existsSync, readFileSync, statSync } from 'node:fs'

/** Bytes of an SQLite database as the last transaction left it, whether or not it has been written from its log into its file. */
export function databaseBytes(file: string): number {
  const log = `${file}-wal`
  const bytes = existsSync(log) ? bytesByLog(readFileSync(log)) : undefined
  return bytes ?? statSync(file).size
}

// --- internal ---

// https://www.sqlite.org/fileformat2.html#the_write_ahead_log: a header of 32 bytes, then frames of 24 bytes and a page each.
const HEADER = 32
const FRAME_HEADER = 24

/** The size that the last transaction in the log gave the database, if there is one. */
function bytesByLog(log: Buffer): number | undefined {
  if (log.length < HEADER) return undefined
  const pageSize = log.readUInt32BE(8)
  const salt = log.subarray(16, 24)
  let pages = 0
  for (let at = HEADER; at + FRAME_HEADER + pageSize <= log.length; at += FRAME_HEADER + pageSize) {
    // What follows is of an earlier round through the same file.
    if (!log.subarray(at + 8, at + 16).equals(salt)) break
    // 0: not the last one of its transaction.
    pages = log.readUInt32BE(at + 4) || pages
  }
  return pages === 0 ? undefined : pages * pageSize
}
