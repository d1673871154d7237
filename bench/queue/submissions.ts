import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostApi, type HostApi } from '#core/api/host.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { createBehaviour } from '#simulator/fleet/behaviour.ts'
import { createFakeFleet } from '#simulator/fleet/fleet.ts'
import { submitArray, submitSingles } from '#simulator/run/submit.ts'
import { median, ratioResult, type Result, timed } from '../statistics.ts'
import { withHost } from './host.ts'

const ARRAY_TASKS = 100_000
const CLIENTS = 8
const ROUNDS = 5
const TASKS_A_ROUND = 2000

/** How fast tasks come into the queue: as one array, and one by one against h3 with one insert each, turn by turn. */
export async function measureSubmissions(distDir: string): Promise<Result[]> {
  return withHost(distDir, async ({ host, client, connect }) => {
    // They are busy for ever, so that everything below waits in the queue, as in a full cluster.
    const fleet = await createFakeFleet({ hostUrl: host.url, runnerToken: () => host.runnerToken, nodes: 10, behave: createBehaviour({ meanMs: Infinity, spread: 'constant' }) })
    const raw = await startYardstick(distDir)
    try {
      const arraySeconds = (await timed(() => submitArray(client, ARRAY_TASKS))) / 1000
      // Into the queue behind it, and one round to warm up.
      const rates = { raw: [] as number[], ours: [] as number[] }
      for (let round = 0; round <= ROUNDS; round += 1) {
        const [rawRate, ourRate] = [await rate(raw.connect), await rate(connect)]
        if (round === 0) continue
        rates.raw.push(rawRate)
        rates.ours.push(ourRate)
      }
      const ours = median(rates.ours)
      return [
        { what: `array of ${ARRAY_TASKS} tasks queued`, raw: 0, ours: arraySeconds, unit: 's', ratio: NaN, target: '≤ 10 s', met: arraySeconds <= 10 },
        ratioResult(`single submissions, ${CLIENTS} clients (raw: h3 + one insert)`, median(rates.raw), ours, { unit: 'tasks/s', atLeast: 0.6 }),
        { what: 'single submissions', raw: 0, ours, unit: 'tasks/s', ratio: NaN, target: '≥ 1000 tasks/s', met: ours >= 1000 },
      ]
    } finally {
      await raw.stop()
      await fleet.close()
    }
  })
}

// --- internal ---

async function rate(connect: () => Client<HostApi>): Promise<number> {
  const ms = await timed(() => submitSingles(connect, { tasks: TASKS_A_ROUND, clients: CLIENTS }))
  return (1000 * TASKS_A_ROUND) / ms
}

async function startYardstick(distDir: string): Promise<{ connect(): Client<HostApi>; stop(): Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-yardstick-'))
  const child = spawn(process.execPath, [join(distDir, 'bench', 'raw-submissions.mjs'), join(directory, 'raw.db')], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  return {
    connect: () => createClient({ api: hostApi, url: `http://127.0.0.1:${Number(port.toString())}`, token: undefined, unreachable: 'host.unreachable' }),
    async stop() {
      child.kill()
      await exited
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
