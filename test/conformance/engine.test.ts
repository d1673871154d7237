import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { engineSuite } from './engine.ts'

engineSuite('of this machine', async () => ({ engine: testEngine(), image: await ensureBusybox(socketPath) }), { missing: engineMissing })
