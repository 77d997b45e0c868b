import { crc32 } from 'node:zlib'
import { expect, test } from 'vitest'
import { ResultRows } from '../../../../src/rdd/engine/result-rows.ts'
import { TaskMemory } from '../../../../src/rdd/engine/task-memory.ts'
import { TaskSpill } from '../../../../src/rdd/engine/task-spill.ts'
import { createLocal } from '../../../../src/rdd/index.ts'
import { MemorySpill } from '../../../../src/rdd/memory-spill.ts'

function results(limitBytes: number): { rows: ResultRows; spills: MemorySpill } {
  const spills = new MemorySpill()
  const memory = new TaskMemory(limitBytes, undefined, new TaskSpill(() => spills.open()))
  return { rows: new ResultRows(memory.holding('the result'), () => spills.open()), spills }
}

test('a result larger than the memory of its task is in a file, byte for byte as it would be in memory', () => {
  const [small, ample] = [results(1 << 20), results(1 << 30)]
  for (let i = 0; i < 200_000; i++) {
    for (const { rows } of [small, ample]) {
      rows.encoder.append({ i, text: `row number ${i}` })
      if (i % 1024 === 0) rows.measure()
    }
  }
  const inFile = small.rows.finish()
  const inMemory = ample.rows.finish()
  if (!('file' in inFile.content) || !('bytes' in inMemory.content)) throw new Error('it is elsewhere')
  const bytes = small.spills.takeSealed(inFile.content.file)
  expect(Buffer.from(bytes).equals(inMemory.content.bytes)).toBe(true)
  expect(inFile).toMatchObject({ rows: 200_000, sizeBytes: bytes.length, checksum: crc32(bytes) })
  expect(inMemory).toMatchObject({ rows: 200_000, sizeBytes: bytes.length, checksum: crc32(bytes) })
})

test('the file of a result that nobody takes is gone', () => {
  const { rows, spills } = results(1 << 18)
  for (let i = 0; i < 50_000; i++) rows.encoder.append(`row ${i} that is long enough`)
  rows.measure()
  expect(spills.openFiles).toBe(1)
  rows.discard()
  expect(spills.openFiles).toBe(0)
})

test('a dataset is collected whose partitions are larger than what a task may hold', async () => {
  const local = createLocal({ memoryLimitBytes: 1 << 19 })
  const rows = await local
    .range(200_000)
    .map(i => `row ${i}`)
    .coalesce(1)
    .collect()
  expect(rows.length).toBe(200_000)
  expect(rows.at(-1)).toBe('row 199999')
})
