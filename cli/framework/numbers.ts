import { quote } from '#core/names.ts'
import { usage } from './parse.ts'

/** The whole number of an option. @throws `usage.invalid` */
export function parseCount(option: string, text: string, { min, max }: { min: number; max: number }): number {
  const number = /^\d{1,9}$/.test(text) ? Number(text) : NaN
  if (!(number >= min && number <= max)) throw usage(`${option} ${quote(text)} is not a whole number from ${min} to ${max}.`)
  return number
}
