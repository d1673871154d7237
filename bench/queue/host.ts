import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostApi, type HostApi } from '#core/api/host.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { publishEnvironment } from '#simulator/run/environment.ts'
import { type SimulatedHost, startHost } from '#simulator/run/host.ts'

/** A Host without an Engine and without nodes, and a client of it. */
export interface BenchHost {
  host: SimulatedHost
  client: Client<HostApi>
  connect(): Client<HostApi>
}

/** @param between what is done to the stopped Host's database before it starts again */
export async function withHost<T>(distDir: string, work: (bench: BenchHost) => Promise<T>, between?: (database: string) => void): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-bench-'))
  const binDir = join(distDir, 'bin')
  let host: SimulatedHost | undefined
  let client: Client<HostApi> | undefined
  try {
    host = await startHost({ directory, binDir })
    await publishEnvironment(host.sharedDir)
    if (between) {
      await host.stop()
      between(host.database)
      host = await startHost({ directory, binDir })
    }
    const { url, adminToken: token } = host
    const connect = () => createClient({ api: hostApi, url, token, unreachable: 'host.unreachable' })
    client = connect()
    return await work({ host, client, connect })
  } finally {
    client?.close()
    await host?.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}
