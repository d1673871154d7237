import { errorMessage } from '#core/errors.ts'
import type { Cluster, Finished } from '#test/support/cluster.ts'

/** Runs a command of the cluster, and throws with its words unless it succeeds. */
export async function must(cluster: Cluster, command: string, args: string[], input?: string): Promise<Finished> {
  const finished = await cluster.run(command, args, input === undefined ? {} : { input })
  if (finished.code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${finished.code}: ${finished.stderr}`)
  return finished
}

/** Ends a cluster whatever happened, and removes the container of its environment from the Engine, which outlives it. */
export async function stopCluster(cluster: Cluster, environment: string): Promise<void> {
  await cluster.client.call('deleteContainer', { params: { name: environment } }).catch((error: unknown) => {
    // What failed before may be why there is none, and is what counts.
    console.error(`[hakuriver] [bench] the container of ${environment} is not removed: ${errorMessage(error)}`)
  })
  await cluster.stop()
}
