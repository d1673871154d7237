import type { Items } from '../api/schemas.ts'
import { HakuError } from '../errors.ts'
import { quote } from '../names.ts'
import { firstIndexes, type IndexSet, MAX_ITEMS, parseIndexes } from './index-set.ts'

/** Names of variables that HakuRiver sets begin so. */
export const RESERVED_PREFIX = 'HAKURIVER_'

/**
 * The indexes of a batch's items.
 *
 * @throws `task.items_invalid`
 */
export function indexesOf(items: Items): IndexSet {
  switch (items.kind) {
    case 'array':
      return parseIndexes(items.indexes)
    case 'lines':
      return firstIndexes(items.lines.length)
    case 'sweep':
      return firstIndexes(countCombinations(items.parameters))
    default:
      return items satisfies never
  }
}

/** What is different for one item: it arrives as environment variables, and replaces `%{name}` in the command. */
export function variablesOf(items: Items, index: number): Record<string, string> {
  switch (items.kind) {
    case 'array':
      return { index: String(index) }
    case 'lines':
      return { line: items.lines[index - 1] ?? '' }
    case 'sweep':
      return combination(items.parameters, index - 1)
    default:
      return items satisfies never
  }
}

/** `%{name}` becomes the value of the variable; one that there is not stays as it is, for programs have such words of their own. */
export function replaceVariables(argument: string, variables: Readonly<Record<string, string>>): string {
  return argument.replaceAll(/%\{(\w+)\}/g, (whole, name: string) => (Object.hasOwn(variables, name) ? (variables[name] ?? whole) : whole))
}

// --- internal ---

type Parameters = Extract<Items, { kind: 'sweep' }>['parameters']

function countCombinations(parameters: Parameters): number {
  const names = new Set<string>()
  for (const { name } of parameters) {
    if (names.has(name)) throw new HakuError('task.items_invalid', `The sweep has ${quote(name)} twice. Give all its values in one place.`)
    if (name.startsWith(RESERVED_PREFIX)) throw new HakuError('task.items_invalid', `A sweep can not have ${quote(name)}: names with ${RESERVED_PREFIX} in front are HakuRiver's own.`)
    names.add(name)
  }
  const count = parameters.reduce((product, { values }) => product * values.length, 1)
  if (count > MAX_ITEMS) throw new HakuError('task.items_invalid', `The sweep has ${count} combinations; ${MAX_ITEMS} is the most. Submit it in parts.`)
  return count
}

/** Counts in a number system with a base for each digit; the last parameter is the last digit. */
function combination(parameters: Parameters, nth: number): Record<string, string> {
  const chosen = new Map<string, string>()
  let left = nth
  for (const { name, values } of parameters.toReversed()) {
    chosen.set(name, values[left % values.length] ?? '')
    left = Math.floor(left / values.length)
  }
  return Object.fromEntries(parameters.map(({ name }) => [name, chosen.get(name) ?? '']))
}
