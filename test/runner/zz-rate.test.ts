import { it } from 'vitest'
import { createId } from '#core/ids.ts'
import { socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { startRunner } from './support/runner-process.ts'
import { startStubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace } from './support/workspace.ts'
import { createRawEngine, rawTask } from '../../bench/raw-engine.ts'
it('rate', { timeout: 400_000 }, async () => {
  const engine = testEngine()
  const image = await engine.inspectImage(await ensureBusybox(socketPath))
  const workspace = await createWorkspace(engine)
  const host = await startStubHost()
  const runner = await startRunner(workspace, host)
  const raw = createRawEngine(socketPath)
  const loop = async (n: number, p: number, f: () => Promise<void>) => {
    let i = 0
    const t = performance.now()
    await Promise.all(Array.from({ length: p }, async () => { while (i++ < n) await f() }))
    return (n * 1000) / (performance.now() - t)
  }
  const run = (pack: string | null) => async () => { const order = createOrder(image?.id ?? '', ['true'], { pack, cores: 0, network: 'host' }); await runner.put(order); await host.untilFinal(order.id) }
  await loop(2, 2, run(null))
  for (const p of [8, 8, 8, 2]) {
    const r = await loop(32, p, () => rawTask(raw, image?.id ?? '', ['true']))
    const c = await loop(32, p, run(null))
    const pack = createId()
    await loop(2, 1, run(pack))
    const e = await loop(80, p, run(pack))
    console.log(`p=${p} raw/s ${r.toFixed(1)} container/s ${c.toFixed(1)} (${(c / r).toFixed(2)}) pack/s ${e.toFixed(1)} ratio ${(e / c).toFixed(2)}`)
  }
  await runner.stop(); await host.stop(); await workspace.remove()
})
