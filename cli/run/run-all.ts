import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { constants } from 'node:os'
import { errorMessage, systemErrorCode } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { type Interrupt, interruptCode, onInterrupt } from '../framework/interrupts.ts'
import { createLimit } from '../framework/limit.ts'
import { createLineBuffer } from '../framework/line-buffer.ts'
import { print, printError, tell } from '../framework/output.ts'

/** As a shell has them. */
const NOT_FOUND = 127
const NOT_EXECUTABLE = 126
const SIGNALLED = 128

/**
 * Runs each argv as a program, without a shell, so many at a time; all are run, whatever becomes of the others. One at a time they have
 * our standard input and outputs; else they share the outputs by whole lines.
 *
 * After a signal nothing more is begun; those that run get it too, and are waited for.
 *
 * @returns 0 if all succeeded, else the highest exit code
 */
export async function runAll(argvs: readonly string[][], parallel: number): Promise<number> {
  const running = new Set<ChildProcess>()
  let interrupt: Interrupt | undefined
  const release = onInterrupt((signal) => {
    const next = interrupt === undefined ? signal : 'SIGKILL'
    interrupt ??= signal
    // A terminal sends Ctrl-C to all of them itself.
    if (next === 'SIGINT' && process.stdin.isTTY) return
    for (const child of running) child.kill(next)
  })
  const limit = createLimit(parallel)
  const codes = await Promise.all(argvs.map((argv) => limit(async () => (interrupt === undefined ? runOne(argv, parallel > 1, running) : 0)))).finally(release)
  if (interrupt !== undefined) return interruptCode(interrupt)
  return codes.reduce((highest, code) => Math.max(highest, code), 0)
}

// --- internal ---

async function runOne([program = '', ...args]: string[], isShared: boolean, running: Set<ChildProcess>): Promise<number> {
  let child: ChildProcess | undefined
  try {
    child = spawn(program, args, { stdio: isShared ? ['ignore', 'pipe', 'pipe'] : 'inherit' })
    running.add(child)
    const [code] = await Promise.all([exitOf(child, program), copyLines(child.stdout, print), copyLines(child.stderr, printError)])
    return code
  } catch (error) {
    // Some of what can be wrong with a program is thrown, the rest is told by an event.
    return explainFailure(program, error)
  } finally {
    if (child) running.delete(child)
  }
}

function explainFailure(program: string, error: unknown): number {
  tell(`${quote(program)} could not be run: ${errorMessage(error)}`)
  return systemErrorCode(error) === 'ENOENT' ? NOT_FOUND : NOT_EXECUTABLE
}

function exitOf(child: ChildProcess, program: string): Promise<number> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(explainFailure(program, error)))
    child.once('close', (code, signal) => resolve(code ?? SIGNALLED + (signal ? constants.signals[signal] : 0)))
  })
}

async function copyLines(stream: Readable | null, write: (lines: Buffer) => Promise<void>): Promise<void> {
  if (!stream) return
  const lines = createLineBuffer(write)
  for await (const chunk of stream as AsyncIterable<Buffer>) await lines.push(chunk)
  await lines.end()
}
