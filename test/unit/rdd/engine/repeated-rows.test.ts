import { expect, test } from 'vitest'
import { RepeatedRows } from '../../../../src/rdd/engine/repeated-rows.ts'
import { TaskMemory } from '../../../../src/rdd/engine/task-memory.ts'
import { TaskSpill } from '../../../../src/rdd/engine/task-spill.ts'
import { createLocal } from '../../../../src/rdd/index.ts'
import { MemorySpill } from '../../../../src/rdd/memory-spill.ts'

test('repeated rows are the same whether some of them are on disk or not, each time', () => {
  for (const [limitBytes, isOnDisk] of [
    [1 << 30, false],
    [10_000, true],
  ] as const) {
    const spills = new MemorySpill()
    const spill = new TaskSpill(() => spills.open())
    const kept = new RepeatedRows(new TaskMemory(limitBytes, undefined, spill).holding('cartesian'))
    for (let i = 0; i < 50; i++) kept.append([i, `row ${i}`, 'x'.repeat(100 * i)])
    expect(spill.records > 0).toBe(isOnDisk)
    for (let time = 0; time < 2; time++) {
      const rows = [...kept.batches()].flatMap(batch => Array.from(batch))
      expect(rows).toEqual(Array.from({ length: 50 }, (_, i) => [i, `row ${i}`, 'x'.repeat(100 * i)]).flat())
    }
    spill.closeAll()
    expect(spills.openFiles).toBe(0)
  }
})

test('the sides of a cartesian product may be larger than what a task may hold', async () => {
  const local = createLocal({ memoryLimitBytes: 50_000 })
  const left = local.parallelize([1, 2, 3], 1)
  const right = local
    .range(20_000)
    .map(i => `element ${i} of the right side`)
    .coalesce(1)
  const crossed = left.cartesian(right)
  expect(await crossed.count()).toBe(60_000)
  expect(
    (await crossed.filter(([, text]) => text.startsWith('element 19999 ')).collect()).map(([n]) => n),
  ).toEqual([1, 2, 3])
})
