import { expect, test } from 'vitest'
import { byteCount } from '../../../src/cli/settings.ts'
import { memoryBudget } from '../../../src/node/memory-budget.ts'

const MIB = 2 ** 20

test('one number is divided so that tasks, cached partitions, outputs and the garbage of heaps stay below it', () => {
  for (const mib of [64, 100, 512, 4096, 65_536]) {
    const budget = memoryBudget({ memoryBytes: mib * MIB })
    expect(budget.taskBytes).toBe(budget.tasksBytes)
    // Heaps grow to one and a half times of what lives in them.
    const worst = 1.5 * budget.tasksBytes + budget.cacheBytes + budget.outputBytes
    expect(worst).toBeLessThanOrEqual(mib * MIB)
    expect(worst).toBeGreaterThan(0.8 * mib * MIB)
    expect(budget.oldSpaceMb * MIB).toBeGreaterThan(budget.taskBytes)
  }
})

test('a part that is named itself stays as it is, and what depends on it follows', () => {
  const given = { memoryBytes: 512 * MIB, tasksBytes: 100 * MIB, cacheBytes: 0 }
  const budget = memoryBudget(given)
  expect(budget).toMatchObject({ tasksBytes: 100 * MIB, taskBytes: 100 * MIB, cacheBytes: 0 })
  expect(budget.outputBytes).toBe(64 * MIB)
  expect(memoryBudget({ ...given, taskBytes: 10 * MIB }).taskBytes).toBe(10 * MIB)
})

test('too little is refused, and says how much it must be', () => {
  for (const memoryBytes of [0, 64 * MIB - 1, -1, Number.NaN, 100 * MIB + 0.5]) {
    expect(() => memoryBudget({ memoryBytes })).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('at least 64 MiB') as string,
      }),
    )
  }
})

test('sizes on the command line have units in powers of 1024', () => {
  const parse = byteCount('--memory', 64 * MIB)
  expect(['512mb', '512m', '512MiB', '536870912', '0.5g', ' 512 MB '].map(parse)).toEqual(
    Array.from({ length: 6 }, () => 512 * MIB),
  )
  for (const text of ['', '63m', '512x', 'mb', '-512m', '1e9']) {
    expect(() => parse(text), text).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        details: expect.objectContaining({ option: '--memory' }) as object,
      }),
    )
  }
})
