import { setTimeout } from 'node:timers/promises'
import type { Socket } from 'node:net'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { processPaths } from '#core/paths.ts'
import { outputChannels } from '#core/tasks/channels.ts'
import type { EndedProcess } from '../../../keeping/files.ts'
import { untilWritten } from '../../../keeping/write.ts'
import { claimItem, unclaimItem, writeEnd, writeStart } from '../item-files.ts'
import { outerPid } from '../item-processes.ts'
import { killItem } from '../signal-item.ts'
import type { Agents } from './agents.ts'
import { openOutput } from './output-files.ts'
import { createPipes, type Pipes } from './pipes.ts'
import type { AgentLaunch, ItemOrder } from './protocol.ts'

/** The command could not be started. */
export class ItemFailure extends Error {
  readonly failure: NonNullable<EndedProcess['failure']> & { exitCode: number | null }

  constructor(failure: ItemFailure['failure']) {
    super(failure.message)
    this.failure = failure
  }
}

/**
 * Starts an item once, keeps what it prints and how it ends. Resolves when both are in its files.
 *
 * @throws {@link ItemFailure}; `container.not_running`, `container.not_found`, `engine.*`: there is no agent, and the item was not started;
 *   `engine.conflict`: another keeper has it
 */
export async function keepItem({ engine, agents }: { engine: Engine; agents: Agents }, launch: AgentLaunch, order: ItemOrder, onStarted: () => void): Promise<void> {
  const { containerId } = launch
  const agent = await agents.open(launch)
  const paths = processPaths(order.directory)
  if (!claimItem(paths, { containerId, mark: order.mark })) throw new HakuError('engine.conflict', 'Another keeper has started the item.')
  const output = await openOutput(paths, order.maxOutputBytes)
  const pipes = pipesOf(launch.pipes)
  const pair = await pipes.take()
  const open = pair.open()
  try {
    const { command, env, workdir, mark } = order
    const item = agent.start({ command, env, workdir, oomScore: mark.score, ...pair.inside })
    const started = await item.started
    if (started && 'failure' in started) {
      open.close()
      pipes.give(pair)
      unclaimItem(paths)
      throw new ItemFailure(started.failure)
    }
    const pid = started && outerPid(containerId, started.pid)
    writeStart(paths, pid)
    onStarted()
    const sources = open.read()
    const copied = Promise.all(outputChannels.map((channel) => output.copy(channel, sources[channel])))
    const exitCode = await item.exited
    // What it has started ends with it, as in a container of its own.
    await killItem(engine, { containerId, pid: pid ?? 0, id: order.taskId })
    if (await endCopies(copied, Object.values(sources))) pipes.give(pair)
    await untilWritten(() => writeEnd(paths, { exitCode: exitCode ?? null, note: exitCode === undefined ? AGENT_LOST : null }))
  } finally {
    await output.close()
  }
}

// --- internal ---

/** Whoever holds the output open then was never part of the item. */
const OUTPUT_PATIENCE_MS = 3000
const AGENT_LOST = 'The container that items share, or the agent in it, ended while the item ran.'

/** By their directory. */
const allPipes = new Map<string, Pipes>()

function pipesOf(directory: string): Pipes {
  const pipes = allPipes.get(directory) ?? createPipes(directory)
  allPipes.set(directory, pipes)
  return pipes
}

/** Resolves to whether all came to their end. */
async function endCopies(copied: Promise<unknown>, sources: readonly Socket[]): Promise<boolean> {
  const isAll = await Promise.race([copied.then(() => true), setTimeout(OUTPUT_PATIENCE_MS, false, { ref: false })])
  for (const source of sources) source.destroy()
  await copied
  return isAll
}
