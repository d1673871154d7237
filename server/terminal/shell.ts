import { setTimeout as delay } from 'node:timers/promises'
import { createDemultiplexer, type OutputChunk } from '#core/engine/demultiplex.ts'
import type { Engine, ExecSession } from '#core/engine/engine.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import { printable } from '#core/names.ts'

/** A shell that runs in a container. Its stream is paused until somebody reads on. */
export interface Shell {
  /** The interpreter that the container certainly has. */
  interpreter: string
  /** As seen in the container; also the id of its session, because the Engine starts each exec in a session of its own. */
  pid: string
  session: ExecSession
  /** What it had printed when it was found to run. */
  head: OutputChunk[]
  /** Takes the next piece of the stream apart; without a terminal the two outputs come mixed. */
  split(piece: Buffer): OutputChunk[]
}

/**
 * Starts `/bin/bash` if the container has it, `/bin/sh` otherwise. Needs nothing else in the image: no `which`, no probe.
 *
 * @throws `container.no_shell`, `container.not_running`, `engine.unavailable`
 */
export async function startShell(engine: Pick<Engine, 'exec'>, containerId: string, { tty }: { tty: boolean }): Promise<Shell> {
  for (const interpreter of INTERPRETERS) {
    const shell = await tryInterpreter(engine, containerId, interpreter, tty)
    if (shell) return shell
  }
  throw new HakuError('container.no_shell', 'The container has neither /bin/bash nor /bin/sh, so there is no shell to open in it.')
}

/**
 * The exit code of a shell whose output has ended. A shell that went away with its container was killed.
 *
 * @throws `engine.failed` if the Engine does not tell; `engine.unavailable`
 */
export async function readExitCode(session: ExecSession): Promise<number> {
  // The Engine closes the output a moment before it writes the exit code down.
  for (const waitMs of EXIT_CODE_WAITS_MS) {
    const exitCode = await peekExitCode(session)
    if (exitCode !== undefined) return exitCode
    await delay(waitMs)
  }
  throw new HakuError('engine.failed', 'The output of the shell has ended, but the Docker Engine still reports it as running.')
}

/** The exit code, or `undefined` while it runs. */
export async function peekExitCode(session: ExecSession): Promise<number | undefined> {
  try {
    return await session.exitCode()
  } catch (error) {
    if (isHakuError(error, 'engine.not_found', 'container.not_found')) return KILLED
    throw error
  }
}

// --- internal ---

const INTERPRETERS = ['/bin/sh', '/bin/bash']
const KILLED = 128 + 9
const EXIT_CODE_WAITS_MS = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560]
/** An Engine under load takes seconds to start a process; one that takes this long is stuck. */
const START_TIMEOUT_MS = 30_000
/** What the Engine's runtime exits with when it could not start the program. */
const NOT_STARTED = [126, 127]

/** The process keeps its pid through the `exec`, so the first line tells how to reach it later. `echo` is built into every shell. */
const START_SCRIPT = 'echo $$; if [ -x /bin/bash ]; then exec /bin/bash; fi; exec /bin/sh'

async function tryInterpreter(engine: Pick<Engine, 'exec'>, containerId: string, interpreter: string, tty: boolean): Promise<Shell | undefined> {
  const session = await exec(engine, containerId, interpreter, tty)
  if (!session) return undefined
  const demultiplexer = createDemultiplexer()
  const split = (piece: Buffer): OutputChunk[] => (tty ? [{ channel: 'stdout', bytes: piece }] : demultiplexer.push(piece))
  try {
    const { line, rest } = await readFirstLine(session.stream, split)
    const pid = PID_LINE_RE.exec(line)?.groups?.['pid']
    if (pid !== undefined) return { interpreter, pid, session, head: rest, split }
    await assertNotStarted(session, line)
  } catch (error) {
    session.stream.destroy()
    throw error
  }
  session.stream.destroy()
  return undefined
}

const PID_LINE_RE = /^(?<pid>\d+)\r?\n$/

/** `undefined` if the Engine says at once that there is no such program; most say so only in the output. */
async function exec(engine: Pick<Engine, 'exec'>, containerId: string, interpreter: string, tty: boolean): Promise<ExecSession | undefined> {
  try {
    return await engine.exec(containerId, { command: [interpreter, '-c', START_SCRIPT], env: tty ? { TERM: 'xterm-256color' } : {}, tty })
  } catch (error) {
    if (isHakuError(error, 'engine.invalid', 'engine.not_found')) return undefined
    throw error
  }
}

/** Reads through the first line break on stdout, or to the end. Leaves the stream paused. */
function readFirstLine(stream: ExecSession['stream'], split: (piece: Buffer) => OutputChunk[]): Promise<{ line: string; rest: OutputChunk[] }> {
  return new Promise((resolve, reject) => {
    let line = ''
    const timeout = setTimeout(() => finish(new HakuError('engine.failed', `The Docker Engine did not start the shell within ${START_TIMEOUT_MS / 1000} s.`)), START_TIMEOUT_MS)
    const finish = (result: Error | OutputChunk[]) => {
      clearTimeout(timeout)
      stream.pause()
      stream.off('data', onData).off('end', onEnd).off('close', onEnd).off('error', finish)
      if (result instanceof Error) reject(result)
      else resolve({ line, rest: result })
    }
    const onEnd = () => finish([])
    const onData = (piece: Buffer) => {
      const chunks = split(piece)
      for (const [index, chunk] of chunks.entries()) {
        const end = chunk.bytes.indexOf('\n')
        line += chunk.bytes.toString('latin1', 0, end < 0 ? undefined : end + 1)
        if (end < 0) continue
        const remainder = chunk.bytes.subarray(end + 1)
        return finish([...(remainder.length > 0 ? [{ ...chunk, bytes: remainder }] : []), ...chunks.slice(index + 1)])
      }
    }
    stream.on('data', onData).on('end', onEnd).on('close', onEnd).on('error', finish)
  })
}

/** Returns if the runtime could not find or start the program; anything else is thrown. */
async function assertNotStarted(session: ExecSession, words: string): Promise<void> {
  session.stream.resume()
  const exitCode = await readExitCode(session)
  if (NOT_STARTED.includes(exitCode) && /no such file|not found|permission denied|not a directory|exec format/i.test(words)) return
  if (exitCode === KILLED) throw new HakuError('container.not_running', 'The container stopped while a shell was being opened in it. Start it again, then open the shell.')
  throw new HakuError('engine.failed', `The shell could not be started (exit code ${exitCode}): ${printable(words.trim()) || 'the Docker Engine gives no reason'}`)
}
