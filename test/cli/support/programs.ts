import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { buildBins } from '../../../build/bins.mjs'

export interface Finished {
  code: number | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  input?: string | Buffer
  env?: NodeJS.ProcessEnv
  cwd?: string
}

export interface Running {
  child: ChildProcessWithoutNullStreams
  /** Resolves once standard error (or output) has shown `text`. */
  seen(stream: 'stdout' | 'stderr', text: string): Promise<void>
  finished: Promise<Finished>
}

export interface Programs {
  readonly bin: string
  /** The home directory of the programs: empty at first. */
  readonly home: string
  /** The environment of the programs, without anything of this machine's configuration. */
  env(more?: NodeJS.ProcessEnv): NodeJS.ProcessEnv
  start(program: string, args: string[], options?: RunOptions): Running
  run(program: string, args: string[], options?: RunOptions): Promise<Finished>
}

/** The built programs, in a directory of their own that goes with the test file. */
export function usePrograms(): Programs {
  let directory = ''
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-cli-'))
    await buildBins({ outDir: directory })
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  const programs: Programs = {
    get bin() {
      return join(directory, 'bin')
    },
    get home() {
      return join(directory, 'home')
    },
    env(more = {}) {
      const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HAKURIVER_') && name !== 'NODE_OPTIONS'))
      return { ...own, HOME: programs.home, PATH: `${programs.bin}:${process.env['PATH']}`, ...more }
    },
    start(program, args, { input, env, cwd } = {}) {
      const child = spawn(program, args, { env: programs.env(env), cwd: cwd ?? directory })
      child.stdin.on('error', () => {})
      if (input !== undefined) child.stdin.end(input)
      return watch(child)
    },
    run: (program, args, options = {}) => programs.start(program, args, { input: '', ...options }).finished,
  }
  return programs
}

// --- internal ---

function watch(child: ChildProcessWithoutNullStreams): Running {
  const text = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (chunk: string) => {
      text[stream] += chunk
    })
  }
  const finished = once(child, 'close').then(([code]) => ({ code: code as number | null, ...text }))
  return {
    child,
    finished,
    async seen(stream, wanted) {
      while (!text[stream].includes(wanted)) {
        const gone = await Promise.race([once(child[stream], 'data').then(() => false), finished.then(() => true)])
        if (gone && !text[stream].includes(wanted)) throw new Error(`ended without ${JSON.stringify(wanted)}: ${JSON.stringify(text)}`)
      }
    },
  }
}
