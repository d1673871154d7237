import type { NodeState, PlacedTask, Plan, PlanInput, WaitingTask } from '#server/scheduler/types.ts'
import { createRandom } from '#simulator/random.ts'
import { GB, gpus, node, numa, waiting } from './scheduling.ts'

/** A task or batch of the model: what waits, how long it really runs, and when it came and all of it had started. */
export interface ModelTask {
  task: WaitingTask
  priority: number
  rank: number
  durationMs: number
  submitted: number
  started: number | null
  /** How many had to start when it came, itself and its items included. */
  ahead: number
}

export interface ClusterModel {
  now: number
  nodes: NodeState[]
  /** In the order of the queue. */
  waiting(): ModelTask[]
  input(): PlanInput
  submit(overrides?: Partial<ModelTask>): ModelTask
  /** What a Host does with a plan. Answers those of which nothing waits any more. */
  apply(plan: Plan): ModelTask[]
  /** Lets the next running task end, and time go on until then. Answers whether one ran. */
  endNext(): boolean
  /** Replaces a task that waits, as a hold or another priority does. */
  replace(id: string, change: Partial<WaitingTask>, priority?: number): void
  withdraw(id: string): void
  random(limit: number): number
}

export interface ModelOptions {
  nodes: number
  /** No task runs longer. */
  longestMs: number
  /** Of how many tasks one has a time limit: 0: none, 1: each. */
  limited: number
  priorities: number
}

/** A cluster without engines, files or clocks: a queue, nodes, and time that goes from one end to the next. */
export function createClusterModel(seed: number, { nodes: count, longestMs, limited, priorities }: ModelOptions): ClusterModel {
  const random = createRandom(seed).below
  const versions = ['v1', 'v2', 'v3']
  const tasks = new Map<string, ModelTask>()
  const running = new Map<string, { host: string; endsAt: number }>()
  const loadBytes = new Map<string, Map<string, number>>()
  let rank = 0

  const model: ClusterModel = {
    now: 1_700_000_000_000,
    nodes: Array.from({ length: count }, (_, index) => randomNode(`n${index}`, random)),
    waiting: () => [...tasks.values()].filter(({ started }) => started === null).sort((left, right) => right.priority - left.priority || left.rank - right.rank),
    input: () => ({ waiting: model.waiting().map(({ task }) => task), nodes: [...model.nodes], loadBytes, now: model.now }),

    submit(overrides = {}) {
      rank++
      const durationMs = 1 + random(longestMs)
      const made: ModelTask = { task: randomTask(`t${String(rank).padStart(6, '0')}`, { random, nodes: model.nodes, versions, timeLimitSeconds: limited > 0 && random(limited) === 0 ? (durationMs + random(3) * 100) / 1000 : null }), priority: random(priorities), rank, durationMs, submitted: model.now, started: null, ahead: 0, ...overrides }
      tasks.set(made.task.id, made)
      const queue = model.waiting()
      made.ahead = queue.slice(0, queue.indexOf(made) + 1).reduce((sum, { task }) => sum + task.count, 0)
      return made
    },

    apply({ placements }) {
      return placements.flatMap(({ taskId, node: hostname, gpuIds, numaNode }) => {
        const made = tasks.get(taskId)
        if (!made || made.started !== null) throw new Error(`${taskId} was placed too often`)
        const { cores, memoryBytes, timeLimitSeconds, count: left } = made.task
        const id = `${taskId}.${left}`
        made.task = { ...made.task, count: left - 1 }
        if (left === 1) made.started = model.now
        running.set(id, { host: hostname, endsAt: model.now + made.durationMs })
        place(hostname, { id, cores, memoryBytes, gpuIds, numaNode, endsBy: timeLimitSeconds === null ? null : model.now + timeLimitSeconds * 1000 })
        return left === 1 ? [made] : []
      })
    },

    endNext() {
      const [next] = [...running].sort(([leftId, left], [rightId, right]) => left.endsAt - right.endsAt || (leftId < rightId ? -1 : 1))
      if (!next) return false
      const [ended, { host, endsAt }] = next
      model.now = Math.max(model.now, endsAt)
      running.delete(ended)
      change(host, (state) => ({ placed: state.placed.filter(({ id }) => id !== ended) }))
      return true
    },

    replace(id, difference, priority) {
      const made = tasks.get(id)
      if (made) Object.assign(made, { task: { ...made.task, ...difference }, priority: priority ?? made.priority })
    },
    withdraw: (id) => void tasks.delete(id),
    random,
  }

  for (const version of versions) loadBytes.set(version, new Map(model.nodes.filter(() => random(3) > 0).map(({ hostname }) => [hostname, random(3) * 1000])))

  function change(hostname: string, difference: (state: NodeState) => Partial<NodeState>): void {
    model.nodes = model.nodes.map((state) => (state.hostname === hostname ? { ...state, ...difference(state) } : state))
  }
  function place(hostname: string, task: PlacedTask): void {
    change(hostname, (state) => ({ placed: [...state.placed, task] }))
  }
  return model
}

/** What is promised to more than there is, for people; nothing: all is well. Counts by itself, without the planner's helpers. */
export function oversubscribed(nodes: readonly NodeState[]): string[] {
  const sum = (tasks: readonly PlacedTask[], of: (task: PlacedTask) => number) => tasks.reduce((total, task) => total + of(task), 0)
  return nodes.flatMap(({ hostname, cores, memoryBytes, numaNodes, gpus: having, placed }) => {
    const parts = [{ what: hostname, cores, memoryBytes, tasks: placed }, ...numaNodes.map((part) => ({ what: `${hostname}:${part.id}`, cores: part.cores, memoryBytes: part.memoryBytes, tasks: placed.filter(({ numaNode }) => numaNode === part.id) }))]
    const given = placed.flatMap(({ gpuIds }) => gpuIds)
    return [
      ...parts.filter((part) => sum(part.tasks, (task) => task.cores) > part.cores).map(({ what }) => `cores of ${what}`),
      ...parts.filter((part) => sum(part.tasks, (task) => task.memoryBytes ?? 0) > part.memoryBytes).map(({ what }) => `memory of ${what}`),
      ...(new Set(given).size === given.length ? [] : [`a GPU of ${hostname} twice`]),
      ...given.filter((id) => !having.some((gpu) => gpu.id === id)).map((id) => `GPU ${id} that ${hostname} does not have`),
    ]
  })
}

// --- internal ---

type Random = ClusterModel['random']

function randomNode(hostname: string, random: Random): NodeState {
  const cores = 2 * (1 + random(8))
  const memoryBytes = (1 + random(8)) * 16 * GB
  return node(hostname, {
    cores, memoryBytes,
    numaNodes: random(2) ? numa(cores, memoryBytes) : [],
    gpus: random(3) ? [] : gpus(...Array.from({ length: 1 + random(4) }, () => (random(2) ? 24 : 80))),
    plainProcesses: random(2) === 0,
  })
}

/** One that a node could run if it had nothing else. */
function randomTask(id: string, { random, nodes, versions, timeLimitSeconds }: { random: Random; nodes: readonly NodeState[]; versions: readonly string[]; timeLimitSeconds: number | null }): WaitingTask {
  const host = nodes[random(nodes.length)] ?? node('none')
  const bound = random(6) === 0 && host.numaNodes.length > 0 ? random(2) : undefined
  const some = (most: number) => (random(4) === 0 ? most : 1 + random(Math.max(1, Math.ceil(most / 3))))
  const cores = random(10) === 0 ? 0 : some(bound === undefined ? host.cores : host.cores / 2)
  const memoryBytes = random(2) ? null : some(host.memoryBytes / GB / (bound === undefined ? 1 : 2)) * GB
  const named = host.gpus.length > 0 && random(8) === 0 ? [random(host.gpus.length)] : undefined
  const isTargeted = bound !== undefined || named !== undefined || random(8) === 0
  const smallest = Math.min(...host.gpus.map((gpu) => gpu.memoryBytes))
  const count = named === undefined && host.gpus.length > 0 && random(2) ? 1 + random(host.gpus.length) : 0
  return {
    ...waiting(id, { count: random(5) === 0 ? 1 + random(6) : 1, cores, memoryBytes, gpus: count, gpuMemoryBytes: count > 0 && random(2) ? smallest : null, plain: host.plainProcesses && random(5) === 0, version: random(4) === 0 ? null : (versions[random(versions.length)] ?? null), timeLimitSeconds }),
    target: isTargeted ? { node: host.hostname, ...(bound !== undefined && { numaNode: bound }), ...(named && { gpus: named }) } : null,
  }
}
