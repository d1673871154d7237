import { quote } from '../names.ts'

/** What the kernel takes of one word of a command or environment (`MAX_ARG_STRLEN`), without the NUL behind it. */
export const MAX_WORD_BYTES = 131_071
/** A quarter of the usual 8 MiB of stack. */
const MAX_ALL_BYTES = 2 * 1024 * 1024
/** For the variables of the image and of HakuRiver, and the path of the program. */
const ROOM_BYTES = 64 * 1024
/** The NUL behind a word, and the pointer to it. */
const EXTRA_BYTES = 1 + 8

/** What the kernel takes, for people. */
export const COMMAND_LIMITS = `${MAX_WORD_BYTES.toLocaleString('en')} bytes for one word (128 KiB with the NUL behind it), 2 MiB in all`

/** Why the kernel would not start this, in a sentence for people; `undefined`: it would. */
export function whyTooLong(command: readonly string[], env: Readonly<Record<string, string>>): string | undefined {
  const variables = Object.entries(env)
  const word = command.findIndex(isTooLong)
  if (word !== -1) return `Word ${word + 1} of the command has ${bytes(Buffer.byteLength(command[word] ?? ''))}, more than the kernel takes: ${COMMAND_LIMITS}. Put it into a file.`
  const [name] = variables.find((pair) => isTooLong(pair.join('='))) ?? []
  if (name !== undefined) return `The environment variable ${quote(name)} has ${bytes(Buffer.byteLength(`${name}=${env[name]}`))} with its name, more than the kernel takes: ${COMMAND_LIMITS}. Put it into a file.`
  const all = commandBytes(command, env)
  return all > MAX_ALL_BYTES - ROOM_BYTES ? `The command and its environment variables have ${bytes(all)}, with the ${bytes(ROOM_BYTES)} that are kept for the image's own more than the kernel takes: ${COMMAND_LIMITS}. Put them into a file.` : undefined
}

/** What the kernel counts of it. */
export function commandBytes(command: readonly string[], env: Readonly<Record<string, string>>): number {
  let sum = 0
  for (const word of command) sum += Buffer.byteLength(word) + EXTRA_BYTES
  for (const [name, value] of Object.entries(env)) sum += Buffer.byteLength(name) + 1 + Buffer.byteLength(value) + EXTRA_BYTES
  return sum
}

// --- internal ---

/** No UTF-16 unit makes more than 3 bytes of UTF-8: most words are not counted. */
function isTooLong(word: string): boolean {
  return word.length * 3 > MAX_WORD_BYTES && Buffer.byteLength(word) > MAX_WORD_BYTES
}

function bytes(count: number): string {
  return `${count.toLocaleString('en')} bytes`
}
