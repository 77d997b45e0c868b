import { expect, test } from 'vitest'
import { PartitionCache, type CachedPartition } from '../../../../src/node/executor/partition-cache.ts'

function entry(partition: number, sizeBytes = 10, fingerprint = 'f', session = 's'): CachedPartition {
  return { fingerprint, partition, session, bytes: new Uint8Array(new SharedArrayBuffer(sizeBytes)) }
}

const partitionsOf = (entries: CachedPartition[]): number[] => entries.map(({ partition }) => partition)

test('the least recently used partitions make room, and as few as will do', () => {
  const cache = new PartitionCache({ bytesMax: 30 })
  for (const partition of [0, 1, 2]) expect(cache.keep(entry(partition)).dropped).toEqual([])
  cache.touch('f', 0)
  expect(partitionsOf(cache.keep(entry(3)).dropped)).toEqual([1])
  expect(partitionsOf(cache.keep(entry(4, 20)).dropped)).toEqual([2, 0])
  expect(partitionsOf(cache.entries())).toEqual([3, 4])
  expect(cache.sizeBytes).toBe(30)
})

test('what alone is larger than the whole cache is not kept, and nothing makes room for it', () => {
  const cache = new PartitionCache({ bytesMax: 30 })
  cache.keep(entry(0))
  expect(cache.keep(entry(1, 31))).toEqual({ kept: false, dropped: [] })
  expect(partitionsOf(cache.entries())).toEqual([0])
})

test('a partition kept again counts once', () => {
  const cache = new PartitionCache({ bytesMax: 30 })
  cache.keep(entry(0, 20))
  expect(cache.keep(entry(0, 30)).dropped).toEqual([])
  expect(cache.sizeBytes).toBe(30)
})

test('an RDD is let go of alone, a session with all it has, and their room is free again', () => {
  const cache = new PartitionCache({ bytesMax: 100 })
  cache.keep(entry(0, 10, 'f'))
  cache.keep(entry(0, 10, 'g'))
  cache.keep(entry(1, 10, 'g', 't'))
  cache.touch('nothing', 7)
  expect(cache.dropFingerprint('f')).toHaveLength(1)
  expect(cache.sizeBytes).toBe(20)
  expect(partitionsOf(cache.dropSession('t'))).toEqual([1])
  expect(cache.sizeBytes).toBe(10)
})
