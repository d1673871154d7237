import { createPlanner, planPlacements } from '#server/scheduler/plan.ts'
import type { NodeState, PlacedTask, Plan, PlanInput, WaitingTask } from '#server/scheduler/types.ts'
import { createRandom } from '#simulator/random.ts'
import { GB, gpus, node, numa, waiting } from '#test/server/support/scheduling.ts'
import type { Result } from './statistics.ts'

const NODES = 1000
const QUEUED = 10_000
const CORES = 64
/** Tasks that end one by one, each followed by a pass. The first are not counted. */
const ENDS = 2000
const WARM_UP = 1000
const AT_MOST_MS = 0.2

/** What planning costs for each task, with 10,000 in the queue and 1,000 nodes: time of the processor, for the same result beside other work. */
export function measureScheduler(): Result[] {
  return [
    toResult('a pass, 10,000 alike and in arrays', fullPass(mixed)),
    toResult('a pass, 10,000 different', fullPass(different)),
    toResult('one ends, one starts, 10,000 alike wait', steadyState(alike)),
    toResult('one ends, one starts, 10,000 different wait', steadyState(differentInMemory)),
    toResult('one ends, 10,000 of any size wait', steadyState(different)),
  ]
}

// --- internal ---

type MakeTask = (number: number) => WaitingTask

const random = createRandom(1).below

/** Ten kinds of tasks, every tenth of them a batch of twenty. */
function mixed(number: number): WaitingTask {
  const kind = number % 10
  return waiting(`t${number}`, { count: kind === 0 ? 20 : 1, cores: 1 + kind, memoryBytes: 4 * GB, gpus: kind === 7 ? 1 : 0, version: `v${kind}`, timeLimitSeconds: kind % 2 ? 3600 : null })
}

function different(number: number): WaitingTask {
  const count = random(10) === 0 ? 1 + random(4) : 0
  return waiting(`t${number}`, { cores: 1 + random(16), memoryBytes: (1 + random(16)) * GB + number, gpus: count, gpuMemoryBytes: count > 0 && random(2) ? 40 * GB : null, version: `v${random(20)}`, timeLimitSeconds: random(2) ? 60 + random(10_000) : null })
}

function alike(number: number): WaitingTask {
  return waiting(`t${number}`, { memoryBytes: GB, version: 'v0' })
}

/** Each starts where one has ended. */
function differentInMemory(number: number): WaitingTask {
  return waiting(`t${number}`, { memoryBytes: GB + number, version: `v${number % 20}`, timeLimitSeconds: 60 + number })
}

function cluster(): NodeState[] {
  return Array.from({ length: NODES }, (_, index) =>
    node(`node${String(index).padStart(4, '0')}`, { cores: CORES, memoryBytes: 256 * GB, numaNodes: numa(CORES, 256 * GB), gpus: index % 10 ? [] : gpus(...Array<number>(8).fill(index % 20 ? 24 : 80)) }))
}

function loadsOf(nodes: readonly NodeState[]): PlanInput['loadBytes'] {
  return new Map(Array.from({ length: 20 }, (_, version) => [`v${version}`, new Map(nodes.map(({ hostname }) => [hostname, random(3) * GB]))]))
}

/** For each task that waits, from nothing known to all decided. */
function fullPass(make: MakeTask): number {
  const nodes = cluster()
  const given = { waiting: Array.from({ length: QUEUED }, (_, number) => make(number)), nodes, loadBytes: loadsOf(nodes), now: 0 }
  planPlacements(given)
  const start = cpuMs()
  planPlacements(given)
  return (cpuMs() - start) / given.waiting.reduce((sum, { count }) => sum + count, 0)
}

/** For each task that ends, in a full cluster: until it is decided what starts instead. */
function steadyState(make: MakeTask): number {
  const planner = createPlanner()
  let nodes = cluster()
  const loadBytes = loadsOf(nodes)
  const places = new Map(nodes.map(({ hostname }, index) => [hostname, index]))
  const waitingById = new Map<string, WaitingTask>()
  let queue: WaitingTask[] = []
  let made = 0
  let now = 0

  function refill(): void {
    const more = Array.from({ length: QUEUED - queue.length }, () => make(made++))
    for (const task of more) waitingById.set(task.id, task)
    queue = [...queue, ...more]
  }

  function apply({ placements }: Plan): void {
    if (placements.length === 0) return
    const given = new Map<string, PlacedTask[]>()
    for (const { taskId, node: host, gpuIds, numaNode } of placements) {
      const { cores = 0, memoryBytes = null, timeLimitSeconds = null } = waitingById.get(taskId) ?? {}
      given.set(host, [...(given.get(host) ?? []), { id: taskId, cores, memoryBytes, gpuIds, numaNode, endsBy: timeLimitSeconds === null ? null : now + timeLimitSeconds * 1000 }])
    }
    const started = new Set(placements.map(({ taskId }) => taskId))
    queue = queue.filter(({ id }) => !started.has(id))
    for (const id of started) waitingById.delete(id)
    nodes = [...nodes]
    for (const [host, tasks] of given) change(host, (placed) => [...placed, ...tasks])
  }

  function change(host: string, to: (placed: readonly PlacedTask[]) => PlacedTask[]): void {
    const place = places.get(host) ?? 0
    const before = nodes[place]
    if (before) nodes[place] = { ...before, placed: to(before.placed) }
  }

  function pass(): number {
    const start = cpuMs()
    const plan = planner.plan({ waiting: queue, nodes, loadBytes, now })
    const ms = cpuMs() - start
    apply(plan)
    return plan.placements.length > 0 ? ms : -ms
  }

  do {
    refill()
  } while (pass() > 0)
  let total = 0
  for (let end = -WARM_UP; end < ENDS; end++) {
    now += 10
    const host = nodes[random(NODES)]
    nodes = [...nodes]
    if (host) change(host.hostname, (placed) => placed.toSpliced(random(placed.length), 1))
    refill()
    const ms = Math.abs(pass())
    if (end >= 0) total += ms
  }
  return total / ENDS
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

function toResult(what: string, ms: number): Result {
  return { what: `scheduler: ${what}`, raw: 0, ours: ms, unit: 'ms per task', ratio: 0, target: `≤ ${AT_MOST_MS} ms per task`, met: ms <= AT_MOST_MS }
}
