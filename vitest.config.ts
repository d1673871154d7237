import { defineConfig } from 'vitest/config'

// .ci/run counts the tests from a file.
const results = process.env['HAKURIVER_TEST_RESULTS']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 180_000,
    // A second is little on a machine that is busy.
    expect: { poll: { timeout: 20_000 } },
    // Two cores, and most tests wait for an Engine.
    maxWorkers: 2,
    pool: 'forks',
    reporters: results ? ['default', ['json', { outputFile: results }]] : ['default'],
  },
})
