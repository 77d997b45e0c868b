import { defineConfig } from 'vitest/config'

/** Longest one end-to-end or chaos test may take; each has its own, tighter deadlines inside. */
const SLOW_TEST_MS = 240_000

function project(name: string, include: string[], testTimeout: number, fileParallelism: boolean) {
  return {
    test: {
      name,
      include,
      testTimeout,
      hookTimeout: testTimeout,
      fileParallelism,
      pool: 'forks' as const,
      maxWorkers: fileParallelism ? 2 : 1,
      // Function.prototype.toString must be what Node itself sees: closures are captured from it.
      experimental: { viteModuleRunner: false },
    },
  }
}

export default defineConfig({
  test: {
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/types/**/*.test.ts'], 20_000, true),
      project('sim', ['test/sim/**/*.test.ts'], SLOW_TEST_MS, true),
      project('e2e', ['test/e2e/**/*.test.ts'], SLOW_TEST_MS, true),
      project('chaos', ['test/chaos/**/*.test.ts'], 30 * 60_000, false),
    ],
  },
})
