import type { NodeHardware } from '#core/api/schemas.ts'
import { createRandom } from '../random.ts'
import { type Behave, createBehaviour } from './behaviour.ts'
import { createFakeRunner, type FakeRunner } from './fake-runner.ts'
import { type Faults, NO_FAULTS } from './faults.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { createListener } from './listener.ts'

/** Nodes that a Host can not tell from real ones, in one process, with the truth about what ran on them. */
export interface FakeFleet {
  readonly nodes: readonly FakeRunner[]
  /** @throws if there is no such node */
  node(hostname: string): FakeRunner
  /** Change them at any time. */
  readonly faults: Faults
  readonly ledger: Ledger
  /** Ends all nodes; what runs on them ends with them. */
  close(): Promise<void>
}

export interface FakeFleetOptions {
  /** `http://host:port` */
  hostUrl: string
  /** The Host's token for Runners. Read at each registration. */
  runnerToken(): string
  /** So many nodes, or their names. */
  nodes: number | readonly string[]
  /** Of each node. */
  hardware?: Partial<NodeHardware>
  /** What tasks do. Default: they succeed at once. */
  behave?: Behave
  faults?: Partial<Faults>
  seed?: number
  retryMs?: number
}

const HARDWARE: NodeHardware = { cores: 8, memoryBytes: 32_000_000_000, numaNodes: [], gpus: [], plainProcesses: true }
/** At the same time: a Host writes each down. */
const REGISTRATIONS = 32

/** Starts a fleet. Resolves once all of its nodes are registered. */
export async function createFakeFleet({ hostUrl, runnerToken, nodes: wanted, hardware, behave = createBehaviour(), faults: given, seed = 1, retryMs = 200 }: FakeFleetOptions): Promise<FakeFleet> {
  const faults: Faults = { ...NO_FAULTS, ...given }
  const ledger = createLedger()
  const listener = createListener()
  const random = createRandom(seed)
  const names = typeof wanted === 'number' ? nodeNames(wanted) : wanted
  const shared = { hostUrl, runnerToken, hardware: { ...HARDWARE, ...hardware }, behave, ledger, listener, random, faults, retryMs }
  const nodes = names.map((hostname) => createFakeRunner({ ...shared, hostname }))
  const byName = new Map(nodes.map((node) => [node.hostname, node]))

  async function close(): Promise<void> {
    await Promise.all(nodes.map(async (node) => {
      await node.stop()
      node.loseState()
    }))
  }

  try {
    for (let start = 0; start < nodes.length; start += REGISTRATIONS) await Promise.all(nodes.slice(start, start + REGISTRATIONS).map((node) => node.start()))
  } catch (error) {
    await close()
    throw error
  }
  return {
    nodes,
    faults,
    ledger,
    node(hostname) {
      const found = byName.get(hostname)
      if (!found) throw new Error(`the fleet has no node ${hostname}`)
      return found
    },
    close,
  }
}

// --- internal ---

/** `sim0001`, …: they sort by number. */
function nodeNames(count: number): string[] {
  const digits = String(count).length
  return Array.from({ length: count }, (_, index) => `sim${String(index + 1).padStart(digits, '0')}`)
}
