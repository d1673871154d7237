import type { NumaNode } from '#core/api/schemas.ts'
import type { Config } from '#core/config/schema.ts'
import type { ContainerSpec } from '#core/engine/engine.ts'
import { isFinal } from '#core/tasks/states.ts'
import { formatCpuList, parseCpuList } from '../../hardware/cpu-list.ts'
import type { RunnerState, TaskRecord } from '../../state/state.ts'
import { TaskFailure } from '../task-failure.ts'

/** Who may use which CPUs of this node. */
export interface CpuAllocator {
  /** Gives an execution CPUs of its own, where `docker.cpu_limit` says so. They are its own until it has ended, whoever restarts. */
  take(record: TaskRecord): Promise<void>
  /** CPUs and NUMA nodes as limits of a container. */
  limits(record: TaskRecord): Pick<ContainerSpec, 'cores' | 'cpus' | 'memoryNodes'>
}

export interface CpuOptions {
  mode: Config['docker']['cpu_limit']
  state: Pick<RunnerState, 'listActive' | 'save'>
  numaNodes: readonly NumaNode[]
  /** Those that this node gives to tasks. */
  cpus: readonly number[]
}

export function createCpuAllocator({ mode, state, numaNodes, cpus: all }: CpuOptions): CpuAllocator {
  function numaNodeOf({ order: { numaNode } }: TaskRecord): NumaNode | undefined {
    if (numaNode === null) return undefined
    const found = numaNodes.find(({ id }) => id === numaNode)
    if (!found) throw new TaskFailure('start_failed', new Error(`This node has no NUMA node ${numaNode}: it has ${numaNodes.map(({ id }) => id).join(', ') || 'none'}.`))
    return found
  }

  function findFree(record: TaskRecord): number[] {
    const taken = new Set(state.listActive().flatMap(({ cpus, report }) => (cpus === null || isFinal(report.state) ? [] : parseCpuList(cpus))))
    const numaNode = numaNodeOf(record)
    const mine = numaNode ? new Set(parseCpuList(numaNode.cpus)) : undefined
    return all.filter((cpu) => !taken.has(cpu) && (mine?.has(cpu) ?? true))
  }

  return {
    async take(record) {
      const { cores, id } = record.order
      if (mode === 'quota' || cores === 0 || record.cpus !== null) return
      const chosen = choose(findFree(record), cores, numaNodes)
      if (!chosen) {
        // The Host counts cores, not which: an Engine or kernel with other CPUs than the Runner sees is no reason to run nothing.
        console.error(`[hakuriver] [runner] task ${id} gets no ${cores} CPUs of its own, because so many are not free: it is limited by a quota instead`)
        return
      }
      record.cpus = formatCpuList(chosen)
      await state.save(record)
    },
    limits(record) {
      const numaNode = numaNodeOf(record)
      const memoryNodes = numaNode && { memoryNodes: String(numaNode.id) }
      if (record.cpus !== null) return { cpus: record.cpus, ...memoryNodes }
      return { cores: record.order.cores, ...(numaNode && { cpus: numaNode.cpus }), ...memoryNodes }
    },
  }
}

// --- internal ---

/** Of one NUMA node if one has so many, and then of that which has the fewest to spare. */
function choose(free: readonly number[], cores: number, numaNodes: readonly NumaNode[]): number[] | undefined {
  if (free.length < cores) return undefined
  const groups = numaNodes.map(({ cpus }) => new Set(parseCpuList(cpus))).map((cpus) => free.filter((cpu) => cpus.has(cpu)))
  const [best] = groups.filter(({ length }) => length >= cores).toSorted((left, right) => left.length - right.length)
  return (best ?? free).slice(0, cores)
}
