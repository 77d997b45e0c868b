import { expect, test } from 'vitest'
import * as fc from 'fast-check'
import { ShoalError, silentLogger } from '../../../../src/base/index.ts'
import {
  PartitionCache,
  type CachedPartition,
  type Place,
} from '../../../../src/node/executor/partition-cache.ts'
import {
  FRAME_HEAD_BYTES,
  StorageLevel,
  keptLevel,
  type KeptContent,
  type KeptLevel,
} from '../../../../src/rdd/index.ts'

const MEMORY = keptLevel(StorageLevel.MEMORY_ONLY)
const BOTH = keptLevel(StorageLevel.MEMORY_AND_DISK)
const DISK = keptLevel(StorageLevel.DISK_ONLY)

/** A cache whose files are names in a set. */
class Bench {
  readonly files = new Set<string>()
  readonly changes: string[] = []
  diskFails = false
  #made = 0
  readonly cache: PartitionCache

  constructor(memoryBytesMax: number, diskBytesMax = 1_000) {
    this.cache = new PartitionCache({
      memoryBytesMax,
      diskBytesMax,
      files: {
        write: async ({ partition }, chunks) => {
          if (this.diskFails) throw new ShoalError('DISK_FULL', { peer: 'p', freeBytes: 0 })
          const path = `moved ${partition} ${++this.#made}`
          let sizeBytes = 0
          for await (const chunk of chunks) sizeBytes += FRAME_HEAD_BYTES + chunk.length
          this.files.add(path)
          return { path, sizeBytes }
        },
        remove: path => void this.files.delete(path),
      },
      onChange: ({ fingerprint, partition, chunks, file }, isGone) => {
        const place = [...(chunks === undefined ? [] : ['memory']), ...(file === undefined ? [] : ['disk'])]
        this.changes.push(`${fingerprint}/${partition} ${isGone ? 'gone' : place.join('+')}`)
      },
      log: silentLogger,
    })
  }

  /** As a task does it: asks for room, then hands over. */
  async keep(name: string, bytes: number, level: KeptLevel = MEMORY, session = 's'): Promise<boolean> {
    const [fingerprint, partition] = [
      name.slice(0, name.indexOf('/')),
      Number(name.slice(name.indexOf('/') + 1)),
    ]
    const key = { fingerprint, partition }
    const owner = {}
    const place: Place = level.memory ? 'memory' : 'disk'
    try {
      if (!(await this.cache.room(owner, place, key, bytes))) return false
      const content: KeptContent = level.memory
        ? { ...key, level, sizeBytes: bytes, chunks: [new Uint8Array(new SharedArrayBuffer(bytes))] }
        : { ...key, level, sizeBytes: bytes, file: `${name} ${++this.#made}`, fileBytes: bytes }
      if ('file' in content) this.files.add(content.file)
      this.cache.keep(owner, session, content)
      return true
    } finally {
      this.cache.release(owner)
      this.cache.assertInvariants()
    }
  }

  get names(): string[] {
    return this.cache.entries().map(({ fingerprint, partition }) => `${fingerprint}/${partition}`)
  }
}

test('partitions used longest ago make room, and as few as will do', async () => {
  const bench = new Bench(30)
  for (const name of ['a/0', 'a/1', 'a/2']) expect(await bench.keep(name, 10)).toBe(true)
  bench.cache.touch({ fingerprint: 'a', partition: 0 })
  await bench.keep('b/0', 10)
  expect(bench.names).toEqual(['a/2', 'a/0', 'b/0'])
  await bench.keep('c/0', 20)
  expect(bench.names).toEqual(['b/0', 'c/0'])
  expect(bench.cache.memoryBytes).toBe(30)
  expect(bench.changes.filter(change => change.endsWith('gone'))).toEqual([
    'a/1 gone',
    'a/2 gone',
    'a/0 gone',
  ])
})

test('an RDD never makes room for itself, or a pass over one that does not fit would find nothing', async () => {
  const bench = new Bench(30)
  for (const name of ['a/0', 'a/1', 'a/2']) await bench.keep(name, 10)
  expect(await bench.keep('a/3', 10)).toBe(false)
  expect(bench.names).toEqual(['a/0', 'a/1', 'a/2'])
})

test('where it would not suffice, nobody makes room', async () => {
  const bench = new Bench(30)
  await bench.keep('a/0', 20)
  await bench.keep('b/0', 10)
  expect(await bench.keep('b/1', 25)).toBe(false)
  expect(await bench.keep('c/0', 31)).toBe(false)
  expect(bench.names).toEqual(['a/0', 'b/0'])
})

test('what may be on disk goes there in place of being lost', async () => {
  const bench = new Bench(30)
  await bench.keep('a/0', 20, BOTH)
  await bench.keep('a/1', 10, MEMORY)
  expect(await bench.keep('b/0', 30)).toBe(true)
  expect(bench.names).toEqual(['a/0', 'b/0'])
  expect(bench.changes).toEqual(['a/0 memory', 'a/1 memory', 'a/0 disk', 'a/1 gone', 'b/0 memory'])
  expect([bench.cache.memoryBytes, bench.cache.diskBytes]).toEqual([30, 20 + FRAME_HEAD_BYTES])
})

test('a disk that is full costs what cannot be moved there, but never what is pinned', async () => {
  const bench = new Bench(20)
  await bench.keep('a/0', 20, BOTH)
  bench.diskFails = true
  expect(await bench.keep('b/0', 20)).toBe(true)
  expect(bench.names).toEqual(['b/0'])
  const pinned = new Bench(20, 0)
  await pinned.keep('a/0', 20, { ...BOTH, pinned: true })
  expect(await pinned.keep('b/0', 20)).toBe(false)
  expect(pinned.names).toEqual(['a/0'])
})

test('the disk has its own budget, in which what is pinned stays', async () => {
  const bench = new Bench(0, 30)
  await bench.keep('a/0', 10, { ...DISK, pinned: true })
  await bench.keep('b/0', 20, DISK)
  expect(await bench.keep('c/0', 20, DISK)).toBe(true)
  expect(bench.names).toEqual(['a/0', 'c/0'])
  expect([...bench.files]).toEqual(['a/0 1', 'c/0 3'])
  expect(await bench.keep('d/0', 25, DISK)).toBe(false)
})

test('a partition kept again counts once, and its file goes', async () => {
  const bench = new Bench(30)
  await bench.keep('a/0', 20, DISK)
  await bench.keep('a/0', 20)
  expect([bench.cache.memoryBytes, bench.cache.diskBytes, bench.files.size]).toEqual([20, 0, 0])
})

test('an RDD is let go of alone, a session with all it has, and their room is free again', async () => {
  const bench = new Bench(100)
  await bench.keep('f/0', 10)
  await bench.keep('g/0', 10)
  await bench.keep('g/1', 10, DISK, 't')
  bench.cache.dropFingerprint('f')
  expect(bench.names).toEqual(['g/0', 'g/1'])
  bench.cache.dropSession('t')
  expect([bench.cache.memoryBytes, bench.cache.diskBytes, bench.files.size]).toEqual([10, 0, 0])
})

test('what was granted to an attempt that came to nothing is free again', async () => {
  const bench = new Bench(30)
  const owner = {}
  const key = { fingerprint: 'a', partition: 0 }
  expect(await bench.cache.room(owner, 'memory', key, 20)).toBe(true)
  expect(await bench.cache.room(owner, 'memory', key, 20)).toBe(false)
  expect(await bench.keep('b/0', 20)).toBe(false)
  await bench.cache.room(owner, 'memory', key, 0)
  expect(await bench.keep('b/0', 20)).toBe(true)
  expect(await bench.cache.room(owner, 'memory', key, 10)).toBe(true)
  bench.cache.release(owner)
  expect(bench.cache.memoryBytes).toBe(20)
})

test('a damaged file is as good as none', async () => {
  const bench = new Bench(30)
  await bench.keep('a/0', 10, DISK)
  bench.cache.dropDamaged({ fingerprint: 'a', partition: 0 })
  expect([bench.names, bench.files.size]).toEqual([[], 0])
})

test('whatever is kept, dropped and moved, in whatever order: the budgets hold, and files are those of what is kept', async () => {
  const levels = [MEMORY, BOTH, DISK, { ...BOTH, pinned: true as const }]
  const step = fc.oneof(
    fc.record({
      op: fc.constant('keep' as const),
      rdd: fc.constantFrom('a', 'b', 'c'),
      partition: fc.nat(3),
      bytes: fc.integer({ min: 1, max: 40 }),
      level: fc.constantFrom(...levels),
    }),
    fc.record({
      op: fc.constant('touch' as const),
      rdd: fc.constantFrom('a', 'b', 'c'),
      partition: fc.nat(3),
    }),
    fc.record({ op: fc.constant('drop' as const), rdd: fc.constantFrom('a', 'b', 'c') }),
    fc.record({ op: fc.constant('disk' as const), fails: fc.boolean() }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.boolean(), async (steps, together) => {
      const bench = new Bench(60, 80)
      const begun: Promise<unknown>[] = []
      for (const each of steps) {
        if (each.op === 'keep') {
          const kept = bench.keep(`${each.rdd}/${each.partition}`, each.bytes, each.level)
          begun.push(kept)
          if (!together) await kept
        } else if (each.op === 'touch')
          bench.cache.touch({ fingerprint: each.rdd, partition: each.partition })
        else if (each.op === 'drop') bench.cache.dropFingerprint(each.rdd)
        else bench.diskFails = each.fails
        bench.cache.assertInvariants()
      }
      await Promise.all(begun)
      bench.cache.assertInvariants()
      const files = bench.cache
        .entries()
        .flatMap(({ file }: CachedPartition) => (file === undefined ? [] : [file.path]))
      expect([...bench.files].sort()).toEqual(files.sort())
    }),
    { numRuns: 200 },
  )
})
