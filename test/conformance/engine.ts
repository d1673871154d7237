import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBench, type EngineBench, type EngineUnderTest } from './engine-bench.ts'
import { containerCases } from './engine-containers.ts'
import { execCases } from './engine-exec.ts'
import { imageCases } from './engine-images.ts'
import { limitCases } from './engine-limits.ts'
import { outputCases } from './engine-output.ts'

/** What every {@link Engine} must do. Leaves nothing behind on it, or fails. `missing`: why it can not be tested here. */
export function engineSuite(name: string, setup: () => Promise<EngineUnderTest>, options: { missing?: string | undefined } = {}): void {
  if (options.missing !== undefined) console.log(`the conformance of the engine ${name} is not tested: ${options.missing}`)
  describe.skipIf(options.missing !== undefined)(`engine ${name}`, () => {
    const use = useBench(setup)

    it('tells about itself', async () => {
      const info = await use().engine.info()
      expect(info.version).toMatch(/^\d+\.\d+/)
      expect(info.storageDriver).not.toBe('')
      expect(info.cores).toBeGreaterThan(0)
      expect(info.memoryBytes).toBeGreaterThan(2 ** 20)
    })

    describe('containers', () => {
      containerCases(use)
    })
    describe('images', () => {
      imageCases(use)
    })
    taskCases(use)
  })
}

/** The part of it that the execution of tasks leans on. */
export function partialSuite(name: string, setup: () => Promise<EngineUnderTest>): void {
  describe(`engine ${name}`, () => {
    taskCases(useBench(setup))
  })
}

// --- internal ---

function taskCases(use: () => EngineBench): void {
  describe('limits of containers', () => {
    limitCases(use)
  })
  describe('output', () => {
    outputCases(use)
  })
  describe('exec', () => {
    execCases(use)
  })
}

function useBench(setup: () => Promise<EngineUnderTest>): () => EngineBench {
  let bench: EngineBench | undefined
  beforeAll(async () => {
    bench = createBench(await setup())
  })
  afterAll(async () => {
    if (!bench) return
    const left = await bench.clear()
    await bench.close?.()
    expect(left).toEqual([])
  })
  return () => {
    if (!bench) throw new Error('the set-up has failed')
    return bench
  }
}
