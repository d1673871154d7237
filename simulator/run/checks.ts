import type { HostApi } from '#core/api/host.ts'
import type { Task } from '#core/api/schemas.ts'
import type { Client } from '#core/client/client.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { TrueExecution, FleetCounters } from '../fleet/ledger.ts'

/** One thing that must hold after a run. */
export interface Check {
  what: string
  passed: boolean
  /** What was found instead; empty if it holds. */
  found: string
}

export interface CheckOptions {
  client: Client<HostApi>
  tasks: number
  /** `null`: they were submitted one by one. */
  batch: string | null
  counters: FleetCounters
  executions: readonly TrueExecution[]
}

/** Compares what the Host believes with what happened. */
export async function checkRun({ client, tasks, batch, counters, executions }: CheckOptions): Promise<Check[]> {
  const believed = await allTasks(client, batch)
  const truth = new Map(executions.map((execution) => [execution.id, execution]))
  const wrong = believed.filter((task) => !isTrue(task, truth.get(task.id)))
  const open = believed.filter(({ state }) => !isFinal(state))
  const { items: nodes } = await client.call('listNodes', {})
  const reserved = nodes.filter((node) => node.coresReserved > 0 || node.memoryReservedBytes > 0 || node.gpusReserved.length > 0 || node.tasks > 0)
  return [
    check(`the Host has all ${tasks} tasks`, believed.length === tasks, `${believed.length} tasks`),
    check('each has ended', open.length === 0, `${open.length} have not, such as ${open[0]?.id} (${open[0]?.state})`),
    check('each was started once', executions.length === tasks && executions.every(({ starts }) => starts === 1), `${executions.length} executions, ${executions.filter(({ starts }) => starts !== 1).length} of them not once`),
    check('no start twice, none beside another', counters.duplicates === 0 && counters.overlaps === 0, `${counters.duplicates} twice, ${counters.overlaps} beside another`),
    check('each ended as it really did', wrong.length === 0, `${wrong.length} did not: ${describe(wrong[0], truth)}`),
    check('nothing is reserved any more', reserved.length === 0, `${reserved.length} nodes have reservations, such as ${reserved[0]?.hostname}`),
    ...(batch === null ? [] : [await checkBatch(client, batch, believed)]),
  ]
}

// --- internal ---

const PAGE = 1000

function check(what: string, passed: boolean, found: string): Check {
  return { what, passed, found: passed ? '' : found }
}

async function allTasks(client: Client<HostApi>, batch: string | null): Promise<Task[]> {
  const all: Task[] = []
  let cursor: string | null = null
  do {
    const { items, nextCursor }: { items: Task[]; nextCursor: string | null } = await client.call('listTasks', { query: { limit: PAGE, ...(batch !== null && { batch }), ...(cursor !== null && { cursor }) } })
    all.push(...items)
    cursor = nextCursor
  } while (cursor !== null)
  return all
}

function isTrue(task: Task, truth: TrueExecution | undefined): boolean {
  return truth !== undefined && task.state === truth.state && task.exitCode === truth.exitCode && task.instance === truth.instance && task.node === truth.node
}

function describe(task: Task | undefined, truths: ReadonlyMap<string, TrueExecution>): string {
  const truth = truths.get(task?.id ?? '')
  return `${task?.id} is said to be ${task?.state} (exit code ${task?.exitCode}, execution ${task?.instance}, on ${task?.node}), and was ${truth?.state} (${truth?.exitCode}, ${truth?.instance}, ${truth?.node})`
}

async function checkBatch(client: Client<HostApi>, id: string, items: readonly Task[]): Promise<Check> {
  const batch = await client.call('getTask', { params: { id } })
  const counted: Record<string, number> = {}
  for (const { state } of items) counted[state] = (counted[state] ?? 0) + 1
  const said = Object.entries(batch.items?.counts ?? {}).filter(([, count]) => count > 0)
  const same = said.length === Object.keys(counted).length && said.every(([state, count]) => counted[state] === count)
  return check('the batch counts its items right', isFinal(batch.state) && same, `${batch.state}, ${JSON.stringify(batch.items?.counts)} instead of ${JSON.stringify(counted)}`)
}
