import type { Engine } from '#core/engine/engine.ts'

/**
 * Something that runs all the time: an Engine with `live-restore` that is told to stop ends what is just starting, unless something
 * runs already; then it leaves all as it is. The Engine has `busybox:latest`.
 */
export async function startAnchor(engine: Engine): Promise<void> {
  const id = await engine.createContainer({ name: 'anchor', image: 'busybox:latest', command: ['sleep', '86400'], env: {}, labels: {}, mounts: [], network: 'none', logs: 'none' })
  await engine.startContainer(id)
}
