/** The noun as it stands behind the count: `core` or `cores`. Others than those with an `s` are given. */
export function plural(noun: string, count: number, many = `${noun}s`): string {
  return count === 1 ? noun : many
}
