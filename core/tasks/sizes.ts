import { HakuError } from '../errors.ts'
import { quote } from '../names.ts'

const SIZE_RE = /^(?<amount>\d+)(?<unit>[kmgt]?)(?<binary>i?)b?$/i
const EXPONENT: Record<string, number> = { '': 0, k: 1, m: 2, g: 3, t: 4 }

/**
 * Bytes of a size such as `512M`, `24G`, `1500000`, `2GiB`. As in HakuRiver 0.3, a bare suffix is a power of 1000; with
 * `i` (`Ki`, `MiB`) it is a power of 1024.
 *
 * @throws `size.invalid`
 */
export function parseSize(text: string): number {
  const groups = SIZE_RE.exec(text.trim())?.groups
  const unit = groups?.['unit']?.toLowerCase() ?? ''
  const bytes = groups ? Number(groups['amount']) * (groups['binary'] ? 1024 : 1000) ** (EXPONENT[unit] ?? 0) : NaN
  if (!Number.isSafeInteger(bytes) || (groups?.['binary'] && !unit)) {
    throw new HakuError('size.invalid', `${quote(text)} is not a size. Write a number with K, M, G or T (powers of 1000) or Ki, Mi, Gi, Ti (powers of 1024), such as 512M or 24G.`)
  }
  return bytes
}

/** Whether {@link parseSize} understands it. */
export function isSize(text: string): boolean {
  try {
    parseSize(text)
    return true
  } catch {
    // Why it is none is told by whoever asks for the number.
    return false
  }
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Bytes for people: three significant figures, powers of 1000, such as `1.06 MB`. */
export function formatSize(bytes: number): string {
  let amount = bytes
  let unit = 0
  while (amount >= 999.5 && unit < UNITS.length - 1) {
    amount /= 1000
    unit++
  }
  const text = unit === 0 ? String(amount) : amount.toPrecision(3)
  return `${text} ${UNITS[unit]}`
}
