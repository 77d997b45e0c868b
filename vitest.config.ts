import { defineConfig } from 'vitest/config'

/** Nothing hangs for long unnoticed, and nothing fails for want of a processor. */
const UNIT_TEST_MS = 60_000

/** Longest one end-to-end or chaos test may take; each has its own, tighter deadlines inside. */
const SLOW_TEST_MS = 240_000

/**
 * On two processors: tests of real processes spend much of their time waiting. More would make each of them slower than
 * its deadlines suppose.
 */
const FILES_AT_ONCE = 3

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
      maxWorkers: fileParallelism ? FILES_AT_ONCE : 1,
      // Function.prototype.toString must be what Node itself sees: closures are captured from it.
      experimental: { viteModuleRunner: false },
    },
  }
}

export default defineConfig({
  test: {
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/types/**/*.test.ts'], UNIT_TEST_MS, true),
      project('sim', ['test/sim/**/*.test.ts'], SLOW_TEST_MS, true),
      project('e2e', ['test/e2e/**/*.test.ts'], SLOW_TEST_MS, true),
      project('chaos', ['test/chaos/**/*.test.ts'], 30 * 60_000, false),
    ],
  },
})
