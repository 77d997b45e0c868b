import { describe, expect, test } from 'vitest'
import { createLocal, StorageLevel } from '../../../src/rdd/index.ts'

describe('storage levels', () => {
  test('have the names and texts of PySpark', () => {
    expect(String(StorageLevel.MEMORY_ONLY)).toBe('Memory Serialized 1x Replicated')
    expect(String(StorageLevel.MEMORY_AND_DISK_2)).toBe('Disk Memory Serialized 2x Replicated')
    expect(String(StorageLevel.DISK_ONLY_3)).toBe('Disk Serialized 3x Replicated')
    expect(StorageLevel.of('DISK_ONLY')).toBe(StorageLevel.DISK_ONLY)
    // @ts-expect-error there is no such level
    expect(() => StorageLevel.of('OFF_HEAP')).toThrow(
      'OFF_HEAP is no storage level; there are NONE, MEMORY_ONLY',
    )
    // @ts-expect-error names of other static members are none
    expect(() => StorageLevel.of('of')).toThrow('of is no storage level')
  })

  test('one is chosen once, until it is given up', () => {
    const local = createLocal()
    const numbers = local.range(4).setName('numbers')
    expect([numbers.isCached, numbers.getStorageLevel()]).toEqual([false, StorageLevel.NONE])
    expect(numbers.persist('MEMORY_AND_DISK').persist(StorageLevel.MEMORY_AND_DISK)).toBe(numbers)
    expect([numbers.isCached, numbers.getStorageLevel()]).toEqual([true, StorageLevel.MEMORY_AND_DISK])
    expect([...local.getPersistentRDDs()]).toEqual([[numbers.id(), numbers]])
    expect(() => numbers.cache()).toThrow(
      'RDD "numbers" range at storage-level.test.ts:20 is kept as MEMORY_AND_DISK; unpersist() it before it can be MEMORY_ONLY',
    )
    numbers.unpersist()
    expect([numbers.getStorageLevel(), local.getPersistentRDDs().size]).toEqual([StorageLevel.NONE, 0])
    expect(numbers.cache().getStorageLevel()).toBe(StorageLevel.MEMORY_ONLY)
  })

  test.each(['MEMORY_ONLY', 'MEMORY_AND_DISK', 'DISK_ONLY'] as const)(
    'of a dataset kept as %s each partition is computed once',
    async level => {
      const local = createLocal()
      const drawn = local.range(0, 20_000, 1, 3).map(n => ({ n, drawn: Math.random(), word: `w${n % 7}` }))
      drawn.persist(level)
      const first = await drawn.collect()
      expect(await drawn.collect()).toEqual(first)
      expect(await drawn.map(({ n }) => n).sum()).toBe(199_990_000)
      expect(await drawn.toDebugString()).toMatch(/CachedPartitions: 3; MemorySize: .*; DiskSize: .*/)
      drawn.unpersist()
      expect(await drawn.collect()).not.toEqual(first)
    },
  )

  test('what there is no room for is computed through: in memory, on disk, or kept nowhere', async () => {
    const local = createLocal({ memoryLimitBytes: 4 << 20 })
    // About 12 MB, three times what a task may hold.
    const large = (): ReturnType<typeof local.range> => local.range(0, 1_500_000, 1, 1).map(n => n + 0.5)
    local.runner.keptMax.memory = 1 << 20
    const computed = await large().sum()
    const toDisk = large().persist('MEMORY_AND_DISK')
    expect([await toDisk.sum(), await toDisk.sum()]).toEqual([computed, computed])
    expect(await toDisk.explain()).toMatch(/kept in memory and on disk: 1 of 1 are \(11.\d MiB on disk\)/)
    toDisk.unpersist()
    local.runner.keptMax.disk = 1 << 20
    for (const level of ['MEMORY_ONLY', 'MEMORY_AND_DISK', 'DISK_ONLY'] as const) {
      const nowhere = large().persist(level)
      expect([await nowhere.sum(), await nowhere.count()]).toEqual([computed, 1_500_000])
      expect(await nowhere.toDebugString()).not.toContain('CachedPartitions')
      nowhere.unpersist()
    }
  })

  test('the levels of two RDDs with the same data become one that serves both', async () => {
    const local = createLocal()
    const numbers = local.range(0, 10, 1, 2)
    const twice = (): ReturnType<typeof numbers.map<number>> => numbers.map(n => n * 2)
    const both = twice().persist('MEMORY_ONLY_2').union(twice().persist('DISK_ONLY'))
    expect(await both.toDebugString()).toContain('[Disk Memory Serialized 2x Replicated]')
  })
})

describe('local checkpoints', () => {
  test('are read in place of all that came before them, and keep the partitioner', async () => {
    const local = createLocal()
    const pairs = local
      .range(0, 100, 1, 4)
      .map(n => [n % 10, Math.random()] as const)
      .partitionBy(3, key => key)
    const later = pairs.mapValues(value => value * 2)
    expect([pairs.isCheckpointed(), pairs.isLocallyCheckpointed()]).toEqual([false, false])
    expect(await pairs.localCheckpoint()).toBe(pairs)
    expect([pairs.isCheckpointed(), pairs.isLocallyCheckpointed(), pairs.getCheckpointFile()]).toEqual([
      true,
      true,
      undefined,
    ])
    expect(pairs.getStorageLevel()).toBe(StorageLevel.MEMORY_AND_DISK)
    const once = await pairs.collect()
    expect(await later.collect()).toEqual(once.map(([key, value]) => [key, value * 2]))
    expect(await pairs.toDebugString()).not.toContain('range')
    expect(await pairs.partitioner()).toEqual({ kind: 'custom', numPartitions: 3 })
    // The same partitioner: no shuffle.
    expect(await pairs.join(later).explain()).not.toContain('stage 1')
  })

  test('of a persisted RDD go to disk too, with as many copies', async () => {
    const local = createLocal()
    const numbers = local.range(0, 10, 1, 2).persist('MEMORY_ONLY_2')
    await numbers.count()
    await numbers.localCheckpoint()
    expect(numbers.getStorageLevel()).toBe(StorageLevel.MEMORY_AND_DISK_2)
    expect(await numbers.sum()).toBe(45)
  })

  test('that are lost say so, with what to do', async () => {
    const local = createLocal()
    const numbers = local.range(0, 10, 1, 2).map(n => n + 1)
    await numbers.localCheckpoint()
    numbers.unpersist()
    await expect(numbers.sum()).rejects.toMatchObject({
      code: 'CHECKPOINT_LOST',
      message: expect.stringMatching(/^partition 0 of the localCheckpoint .* is gone with the peers/),
    })
  })

  test('that have no room fail, and change nothing', async () => {
    const local = createLocal()
    local.runner.keptMax.memory = 0
    local.runner.keptMax.disk = 0
    const numbers = local.range(0, 10, 1, 2).map(n => n + 1)
    await expect(numbers.localCheckpoint()).rejects.toMatchObject({ code: 'CACHE_FULL' })
    expect([numbers.isCheckpointed(), numbers.isCached]).toEqual([false, false])
    expect(await numbers.sum()).toBe(55)
  })
})

test('a checkpoint keeps hash, range and custom partitioners', async () => {
  const local = createLocal()
  const pairs = local.range(0, 100, 1, 4).map(n => [n, n * n] as const)
  const offset = 1
  for (const partitioned of [
    pairs.partitionBy(3),
    pairs.sortByKey(true, 3),
    pairs.partitionBy(3, key => key + offset),
  ]) {
    const before = await partitioned.partitioner()
    const elements = await partitioned.glom().collect()
    await partitioned.checkpoint()
    expect(await partitioned.partitioner()).toEqual(before)
    expect(await partitioned.glom().collect()).toEqual(elements)
    // Joined with what is computed from it, nothing is shuffled.
    expect(await partitioned.join(partitioned.mapValues(value => -value)).explain()).not.toContain('stage 1')
  }
})
