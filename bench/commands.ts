import type { Cluster, Finished } from '#test/support/cluster.ts'

/** Runs a command of the cluster, and throws with its words unless it succeeds. */
export async function must(cluster: Cluster, command: string, args: string[], input?: string): Promise<Finished> {
  const finished = await cluster.run(command, args, input === undefined ? {} : { input })
  if (finished.code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${finished.code}: ${finished.stderr}`)
  return finished
}
