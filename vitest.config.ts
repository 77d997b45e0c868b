import { defineConfig } from 'vitest/config'

/** Longest one end-to-end or chaos test may take; each has its own, tighter deadlines inside. */
const SLOW_TEST_MS = 240_000

/**
 * Where others' work shares the processors a test of real time may fail once for want of them; a second failure is a
 * fault. The report marks each that needed it ("retry x1"), and docs/testing.md says what is done about them.
 */
const RETRIES = process.env['CI'] === undefined ? 0 : 1

function project(name: string, include: string[], testTimeout: number, fileParallelism: boolean) {
  return {
    test: {
      name,
      include,
      testTimeout,
      hookTimeout: testTimeout,
      retry: RETRIES,
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
