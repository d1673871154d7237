import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { systemErrorCode } from '#core/errors.ts'
import { printable } from '#core/names.ts'
import { COMMAND_LIMITS } from '#core/tasks/command-size.ts'

/** What is to be started. */
export interface Command {
  /** argv. */
  command: string[]
  env: Record<string, string>
  workdir: string
}

/** `null`: whoever starts it. */
export type CommandUser = { uid: number; gid: number } | null

/** A process that did not start, and the shell's exit code for it. */
export class StartFailure extends Error {
  readonly reason: 'command_not_found' | 'start_failed'
  readonly exitCode: number | null

  constructor(reason: StartFailure['reason'], message: string, exitCode: number | null = null) {
    super(message)
    this.reason = reason
    this.exitCode = exitCode
  }
}

/**
 * The program's file, found as a shell finds it, without one.
 *
 * What the kernel can not execute is refused here, because the C library hands it to /bin/sh.
 *
 * @throws {@link StartFailure}
 */
export function findProgram({ command: [name = ''], env, workdir }: Command, place = 'on this node'): string {
  const candidates = name.includes('/') ? [resolve(workdir, name)] : (env['PATH'] ?? '').split(':').map((directory) => resolve(workdir, directory, name))
  const found = candidates.map((file) => ({ file, problem: whyNotExecutable(file) }))
  const best = found.find(({ problem }) => problem === undefined) ?? found.find(({ problem }) => problem !== MISSING)
  if (best === undefined) throw new StartFailure('command_not_found', `There is no program ${shown(name)} ${place}${name.includes('/') ? '' : `, in PATH ${shown(env['PATH'] ?? '', 1000)}`}.`, 127)
  if (best.problem !== undefined) throw new StartFailure('command_not_found', `${shown(best.file)} can not be executed: ${best.problem}.`, 126)
  return best.file
}

/** What is wrong with a command that the kernel refuses with E2BIG. */
export const TOO_LONG = `it and its environment variables are longer than the kernel takes: ${COMMAND_LIMITS}. Put them into a file`

/** What the kernel says when it does not start a program. */
export function explainSpawnError(error: unknown, file: string, user: CommandUser): StartFailure {
  const code = systemErrorCode(error)
  switch (code) {
    case 'ENOENT':
      return new StartFailure('command_not_found', `${shown(file)} can not be executed: the interpreter that it names is not there.`, 127)
    case 'EACCES':
      return new StartFailure('command_not_found', `${shown(file)} can not be executed: permission denied${asUser(user)}.`, 126)
    case 'EPERM':
      return new StartFailure('start_failed', `The Runner may not start a process${asUser(user)}: it does not run as root. Leave --user out, or run the Runner as root.`)
    case 'E2BIG':
      return new StartFailure('command_not_found', `The command can not be run: ${TOO_LONG}.`, 126)
    default:
      return new StartFailure('start_failed', `${shown(file)} can not be started: ${code ?? String(error)}.`)
  }
}

// --- internal ---

const MISSING = 'it is not there'
const ELF = Buffer.from([0x7f, 0x45, 0x4c, 0x46])

function whyNotExecutable(file: string): string | undefined {
  try {
    const stats = statSync(file)
    if (stats.isDirectory()) return 'it is a directory'
    if ((stats.mode & 0o111) === 0) return 'it has no permission to be executed'
    return isExecutableFormat(file) ? undefined : 'it is neither a program nor a script whose first line begins with "#!"'
  } catch (error) {
    const code = systemErrorCode(error)
    return code === 'ENOENT' || code === 'ENOTDIR' ? MISSING : `it can not be read (${code ?? String(error)})`
  }
}

function isExecutableFormat(file: string): boolean {
  const head = Buffer.alloc(4)
  const descriptor = openSync(file, 'r')
  try {
    const length = readSync(descriptor, head, 0, 4, 0)
    return (length === 4 && head.equals(ELF)) || (length >= 2 && head.toString('latin1', 0, 2) === '#!')
  } finally {
    closeSync(descriptor)
  }
}

function asUser(user: CommandUser): string {
  return user ? ` as user ${user.uid}:${user.gid}` : ''
}

function shown(text: string, most = 200): string {
  return printable(text.length > most ? `${text.slice(0, most - 1)}…` : text)
}
