import { errorMessage, HakuError, isHakuError, systemErrorCode } from '#core/errors.ts'

/** @param reason a sentence without its full stop */
export function refused(reason: string, cause?: unknown): HakuError {
  return new HakuError('import.refused', `The archive can not be imported: ${reason}. Nothing was stored.`, { cause })
}

/** What is wrong with the archive, as a refusal; anything else stays what it is. */
export function toRefusal(error: unknown): unknown {
  if (isHakuError(error, 'tarball.damaged', 'engine.invalid')) return refused(error.message.replace(/\.$/, ''), error)
  // zlib has words of its own for bytes that make no sense.
  if (systemErrorCode(error)?.startsWith('Z_')) return refused(`what is compressed in it is damaged (${errorMessage(error)})`, error)
  return error
}
