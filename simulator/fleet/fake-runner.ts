import { createId } from '#core/ids.ts'
import type { Execution, NodeHardware, RegisterBody } from '#core/api/schemas.ts'
import { version } from '#core/version.ts'
import { createFakeTasks, type FakeTasks } from './fake-tasks.ts'
import type { Behave } from './behaviour.ts'
import { createDice, type Faults } from './faults.ts'
import { createGate } from './gate.ts'
import type { Ledger } from './ledger.ts'
import { createFakeLink, type FakeLink } from './link.ts'
import type { Door, Listener } from './listener.ts'
import { createCallHandler } from './calls.ts'
import type { Random } from '../random.ts'

/** A node that behaves as one with a real Runner and Engine, as far as a Host can see. */
export interface FakeRunner {
  readonly hostname: string
  readonly url: string
  /** Another one after each start. */
  readonly instanceId: string
  /** Where set, they count instead of the fleet's. */
  readonly faults: Partial<Faults>
  /** Unfinished or unacknowledged executions. */
  executions(): Execution[]
  /** As SIGSTOP does to a Runner: calls are taken by the kernel and not answered, nothing is said. Tasks run on. */
  freeze(): void
  /** As SIGCONT. */
  thaw(): void
  /** As kill -9: nobody listens, tasks run on. */
  stop(): Promise<void>
  /** The next Runner on the same state and address. Resolves once it is registered. */
  start(): Promise<void>
  /** The node is made anew: it remembers nothing, and what ran is gone. */
  loseState(): void
}

export interface FakeRunnerOptions {
  hostname: string
  hostUrl: string
  /** Read at each registration. */
  runnerToken(): string
  hardware: NodeHardware
  behave: Behave
  ledger: Ledger
  listener: Listener
  random: Random
  /** Of the fleet. */
  faults: Readonly<Faults>
  /** Between two tries to reach the Host. */
  retryMs: number
}

/** Not started yet. */
export function createFakeRunner(options: FakeRunnerOptions): FakeRunner {
  const { hostname, hostUrl, runnerToken, hardware, behave, ledger, listener, random, retryMs } = options
  const faults: Partial<Faults> = {}
  const dice = createDice(random, options.faults, faults)
  const gate = createGate()
  const hostToken = `${hostname}-${createId()}-${createId()}`
  let instanceId = ''
  let door: Door | undefined
  let link: FakeLink | undefined
  const tasks: FakeTasks = createFakeTasks({ hostname, behave, ledger, gate, onNews: (urgent) => link?.news(urgent) })
  const handle = createCallHandler({ tasks, hostToken, instanceId: () => instanceId, dice, gate, ledger })

  function self(): Omit<RegisterBody, 'holdings'> {
    return { hostname, instanceId, url: runner.url, hostToken, hardware, engine: { version: '27.0.0', storageDriver: 'overlay2', architecture: 'amd64' }, runnerVersion: version }
  }

  const runner: FakeRunner = {
    hostname,
    get url() {
      return `http://127.0.0.1:${door?.port ?? 0}`
    },
    get instanceId() {
      return instanceId
    },
    faults,
    executions: tasks.active,
    freeze: gate.shut,
    thaw: gate.open,
    async stop() {
      gate.shut()
      await Promise.all([link?.close(), door?.close()])
      link = undefined
    },
    async start() {
      if (link) return
      instanceId = createId()
      door = await listener.open(handle, door?.port)
      gate.open()
      link = createFakeLink({ hostUrl, runnerToken, self, tasks, dice, gate, ledger, random, retryMs })
      tasks.recover()
      await link.registered
    },
    loseState: tasks.lose,
  }
  return runner
}
