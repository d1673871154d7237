import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type RunnerApi, runnerApi } from '#core/api/runner.ts'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { runnerStatePaths } from '#core/paths.ts'
import { socketPath } from '../../support/engine.ts'
import { freePort } from '#simulator/free-port.ts'
import type { StubHost } from './stub-host.ts'
import { type Workspace, writeConfig } from './workspace.ts'

const PROGRAM = process.env['HAKURIVER_TEST_RUNNER'] ?? fileURLToPath(new URL('../../../dist/runner/server/index.mjs', import.meta.url))
const PATIENCE_MS = 60_000

/** A built Runner as its own process. */
export interface RunnerProcess {
  client: Client<RunnerApi>
  put(order: TaskOrder): Promise<TaskReport>
  /** All it has logged so far. */
  log(): string
  /** Resolves once the log matches. */
  untilLogged(pattern: RegExp): Promise<void>
  /** As a machine that is busy with something else for a while. */
  freeze(): void
  wake(): void
  /** As a crash: no chance to do anything. */
  kill(): Promise<void>
  /** Resolves to the exit code. */
  stop(): Promise<number | null>
  exited: Promise<number | null>
}

export async function startRunner(workspace: Workspace, host: StubHost, options: { port?: number; waitForStart?: boolean; engine?: string; env?: Record<string, string> } = {}): Promise<RunnerProcess> {
  const runnerPort = options.port ?? (await freePort())
  const config = await writeConfig(workspace, { hostPort: host.port, runnerPort, token: host.token, socketPath: options.engine ?? socketPath })
  const child = spawn(process.execPath, [PROGRAM], { env: { ...process.env, ...options.env, HAKURIVER_CONFIG: config }, stdio: ['ignore', 'ignore', 'pipe'] })
  const log = readLog(child)
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  if (options.waitForStart !== false) await log.until(/listens on/)
  const client = createClient({ api: runnerApi, url: `http://127.0.0.1:${runnerPort}`, token: await readToken(workspace), unreachable: 'node.unreachable' })

  async function end(signal: NodeJS.Signals): Promise<number | null> {
    client.close()
    child.kill(signal)
    return exited
  }

  return {
    client,
    put: (order) => client.call('putTask', { params: { id: order.id }, body: order }),
    log: log.text,
    untilLogged: log.until,
    freeze: () => void child.kill('SIGSTOP'),
    wake: () => void child.kill('SIGCONT'),
    kill: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
    exited,
  }
}

// --- internal ---

async function readToken(workspace: Workspace): Promise<string> {
  const text = await readFile(runnerStatePaths(workspace.stateDir).hostToken, 'utf8').catch(() => '')
  return text.trim()
}

function readLog(child: ChildProcess): { text(): string; until(pattern: RegExp): Promise<void> } {
  let text = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    child.emit('log')
  })
  child.stderr?.on('end', () => child.emit('log'))
  return {
    text: () => text,
    async until(pattern) {
      const signal = AbortSignal.timeout(PATIENCE_MS)
      while (!pattern.test(text)) {
        if (child.stderr?.readableEnded) throw new Error(`the Runner ended (${child.exitCode ?? child.signalCode}) before it logged ${pattern}:\n${text}`)
        await once(child, 'log', { signal }).catch(() => {
          throw new Error(`the Runner did not log ${pattern}:\n${text}`)
        })
      }
    },
  }
}
