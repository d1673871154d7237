import { setTimeout as delay } from 'node:timers/promises'
import type { Task } from '#core/api/schemas.ts'
import { mayComeBack } from '#core/tasks/states.ts'
import { plural } from '#core/words.ts'
import { connect, type HostClient } from '../framework/connection.ts'
import { createLimit } from '../framework/limit.ts'
import { printLine, printObjects, tell } from '../framework/output.ts'
import { rejoin } from '../framework/rejoin.ts'
import { tryAll } from '../framework/try-all.ts'
import type { ControlArgs } from './control.ts'
import { standingLine } from './describe.ts'
import { waitForEnd } from './follow.ts'
import { listPages } from './pages.ts'

/** Each is waited for on a connection of its own. */
const TASKS_AT_ONCE = 16
/** A node that is silent is looked after so often. */
const PAUSE_MS = 1000

/** Has all of them killed, then waits until each has really ended, and prints how. Resolves to the exit code of the worst. */
export async function killAndWait(args: ControlArgs): Promise<number> {
  const { client } = connect(args)
  const { results: asked, code } = await tryAll(args.id, { program: 'hakuriver task', json: args.json }, (id) => client.call('killTask', { params: { id } }))
  const limit = createLimit(TASKS_AT_ONCE)
  const ended = await Promise.all(asked.map(async ({ id }) => {
    const task = await waitForKill(id, () => limit(() => waitForEnd(client, id, { reached: true })), (now) => limit(() => silentNodes(client, now)))
    if (!args.json) await printLine(standingLine(task, { isOver: true }))
    return task
  }))
  if (args.json) await printObjects(ended, args.id.length)
  return code
}

// --- internal ---

/** A task on a node that is silent is not over: it may run on there, and is killed when the node comes back. */
async function waitForKill(id: string, end: () => Promise<Task>, silent: (task: Task) => Promise<string[]>): Promise<Task> {
  for (let hasTold = false; ; hasTold = true) {
    const task = await end()
    const nodes = await silent(task)
    if (nodes.length === 0) return task
    if (!hasTold) tell(`${plural('The node', nodes.length)} ${nodes.join(', ')} ${plural('is', nodes.length, 'are')} silent: ${id} is killed when ${plural('it comes', nodes.length, 'they come')} back. Ctrl-C only ends the waiting.`)
    await delay(PAUSE_MS)
  }
}

async function silentNodes(client: HostClient, task: Task): Promise<string[]> {
  if (task.state !== 'lost') return []
  const nodes = new Set<string>()
  const add = (one: Task) => {
    if (mayComeBack(one) && one.node !== null) nodes.add(one.node)
  }
  add(task)
  if (task.items !== null) await rejoin(async () => {
    for await (const { items } of listPages(client, { batch: task.id, state: 'lost' })) items.forEach(add)
  }, { reached: true })
  return [...nodes].sort()
}
