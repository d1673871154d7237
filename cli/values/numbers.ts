import { quote } from '#core/names.ts'
import { usage } from '../framework/parse.ts'

/** Reads a whole number of this range. The reader throws `usage.invalid`. */
export function wholeNumber({ min, max }: { min: number; max: number }): (text: string) => number {
  return (text) => {
    const number = /^-?\d{1,9}$/.test(text) ? Number(text) : NaN
    if (!(number >= min && number <= max)) throw usage(`${quote(text)} is not a whole number from ${min} to ${max}.`)
    return number
  }
}
