import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareValues } from '../../../../src/rdd/engine/ordering.ts'
import { createLocal } from '../../../../src/rdd/local-runner.ts'

/** Operators that bring datasets together, order or index them, against plain arrays. */

const mesh = createLocal()
const partitionCounts = fc.integer({ min: 1, max: 5 })
const keys = fc.constantFrom<unknown>('a', '1', 1, 0, -0, Number.NaN, null, undefined, '__proto__')
const elements = fc.array(keys, { maxLength: 20 })
const pairs = fc.array(fc.tuple(keys, fc.nat(9)), { maxLength: 20 })
const numbers = fc.array(fc.integer({ min: -9, max: 9 }), { maxLength: 25 })

/** As keys are compared: content, NaN is NaN, −0 is 0. */
const same = (a: unknown, b: unknown): boolean => compareValues(a, b) === 0
const has = (all: readonly unknown[], one: unknown): boolean => all.some(each => same(each, one))
const plain = (value: unknown): unknown => (value === 0 ? 0 : value)
const bag = (rows: readonly unknown[]): unknown[] => rows.map(plain).sort(compareValues)

function check<T>(data: fc.Arbitrary<T>, claim: (data: T, s: number) => Promise<void>): Promise<void> {
  return fc.assert(fc.asyncProperty(data, partitionCounts, claim), { numRuns: 40 })
}

describe('sets', () => {
  test('subtract keeps what the other has not, duplicates too; intersection gives each common element once', async () => {
    await check(fc.tuple(elements, elements), async ([left, right], s) => {
      const [a, b] = [mesh.parallelize(left, s), mesh.parallelize(right, 2)]
      expect(bag(await a.subtract(b).collect())).toEqual(bag(left.filter(one => !has(right, one))))
      const common = left.filter((one, i) => has(right, one) && !has(left.slice(0, i), one))
      expect(bag(await a.intersection(b, s).collect())).toEqual(bag(common))
    })
  })

  test('subtractByKey and intersectByKey go by the key alone, and keep every pair of the left', async () => {
    await check(fc.tuple(pairs, pairs), async ([left, right], s) => {
      const [a, b] = [mesh.parallelize(left, 3), mesh.parallelize(right, s)]
      const keys = right.map(([key]) => key)
      const rows = (some: readonly (readonly [unknown, number])[]): unknown[] =>
        bag(some.map(([key, value]) => [plain(key), value]))
      expect(rows(await a.subtractByKey(b).collect())).toEqual(rows(left.filter(([key]) => !has(keys, key))))
      expect(rows(await a.intersectByKey(b, s).collect())).toEqual(
        rows(left.filter(([key]) => has(keys, key))),
      )
    })
  })

  test('groupWith brings two, three or four datasets together', async () => {
    await check(fc.tuple(pairs, pairs, pairs, pairs), async (data, s) => {
      const [a, b, c, d] = data.map(rows => mesh.parallelize(rows, s))
      const rows = await a!.groupWith(b!, c!, d!).collect()
      const all = data.flatMap(side => side.map(([key]) => key))
      expect(rows.length).toBe(all.filter((key, i) => !has(all.slice(0, i), key)).length)
      for (const [key, lists] of rows) {
        expect(lists).toEqual(
          data.map(side => side.filter(([each]) => same(each, key)).map(([, value]) => value)),
        )
      }
      const three = await a!.groupWith(b!, c!).collect()
      for (const [, lists] of three) expect(lists.length).toBe(3)
    })
  })

  test('sets of what is partitioned alike need no shuffle', async () => {
    const [a, b] = [
      mesh
        .range(9)
        .keyBy(n => n % 3)
        .partitionBy(4),
      mesh
        .range(5)
        .keyBy(n => n)
        .partitionBy(4),
    ]
    expect(await a.subtractByKey(b).explain()).not.toMatch(/subtractByKey.*shuffle by/)
    expect(await a.subtractByKey(b).count()).toBe(0)
    expect(await a.subtractByKey(b).partitioner()).toEqual({ kind: 'hash', numPartitions: 4 })
  })
})

describe('places', () => {
  test('zipWithIndex counts through all partitions, zipWithUniqueId by k·n + i', async () => {
    await check(numbers, async (data, s) => {
      const rdd = mesh.parallelize(data, s)
      expect(await rdd.zipWithIndex().collect()).toEqual(data.map((n, i) => [n, i]))
      const slices = await rdd.glom().collect()
      expect(await rdd.zipWithUniqueId().collect()).toEqual(
        slices.flatMap((slice, i) => slice.map((n, k) => [n, k * s + i])),
      )
      // Uneven partitions.
      const filtered = rdd.filter(n => n > 0)
      expect(await filtered.zipWithIndex().collect()).toEqual(data.filter(n => n > 0).map((n, i) => [n, i]))
    })
  })

  test('zipWithIndex counts once, never the last partition, and not at all when there is one', async () => {
    const local = createLocal()
    const indexed = local.range(0, 10, 1, 4).zipWithIndex()
    expect(local.runner.tasksRun.size).toBe(0)
    await indexed.count()
    await indexed.count()
    expect(local.runner.tasksRun.get('range')).toBe(3)
    await local.range(0, 10, 1, 1).zipWithIndex().count()
    expect(local.runner.tasksRun.get('range')).toBe(3)
    expect(await indexed.explain(), 'explaining runs nothing').toMatch(/zipWithIndex/)
    const fresh = createLocal()
    await fresh.range(0, 10, 1, 4).zipWithIndex().explain()
    expect(fresh.runner.tasksRun.size).toBe(0)
  })

  test('zipByIndex pairs by place whatever the partitions, empty ones too', async () => {
    await check(fc.tuple(numbers, fc.integer({ min: 1, max: 5 })), async ([data, t], s) => {
      const left = mesh
        .parallelize(
          [...data, 50, 51].filter(n => n > -20),
          s,
        )
        .filter(n => n > 0)
      const kept = [...data, 50, 51].filter(n => n > 0)
      const right = mesh.parallelize(
        kept.map(n => `${n}`),
        t,
      )
      const zipped = left.zipByIndex(right)
      expect(await zipped.collect()).toEqual(kept.map(n => [n, `${n}`]))
      expect(await zipped.getNumPartitions()).toBe(s)
    })
    expect(await mesh.emptyRDD<number>().zipByIndex(mesh.emptyRDD<number>()).collect()).toEqual([])
  })

  test('zipByIndex of different lengths is an error with both', async () => {
    const failure = mesh.range(5).zipByIndex(mesh.range(7)).collect()
    await expect(failure).rejects.toMatchObject({ code: 'ZIP_LENGTHS', details: { left: 5, right: 7 } })
  })
})

describe('order', () => {
  test('repartitionAndSortWithinPartitions sorts each partition by key, stably, either way', async () => {
    const data = fc.array(fc.tuple(fc.integer({ min: -3, max: 3 }), fc.nat(99)), { maxLength: 25 })
    await check(data, async (rows, s) => {
      for (const ascending of [true, false]) {
        const parts = await mesh
          .parallelize(rows, 3)
          .repartitionAndSortWithinPartitions(s, key => key, ascending)
          .glom()
          .collect()
        const sign = ascending ? 1 : -1
        const expected = Array.from({ length: s }, (_, i) =>
          rows.filter(([key]) => ((key % s) + s) % s === i).toSorted(([a], [b]) => sign * (a - b)),
        )
        expect(parts).toEqual(expected)
      }
    })
    const reversed = mesh
      .parallelize([
        [1, 'x'],
        [3, 'y'],
        [2, 'z'],
      ])
      .repartitionAndSortWithinPartitions(1, undefined, true, key => -key)
    expect(await reversed.keys().collect()).toEqual([3, 2, 1])
  })

  test('filterByRange gives what a filter gives, and computes only partitions that may have some', async () => {
    const range = fc.tuple(fc.integer({ min: -12, max: 12 }), fc.integer({ min: -12, max: 12 }))
    await check(fc.tuple(numbers, range, fc.boolean()), async ([data, [lower, upper], ascending], s) => {
      const pairs = mesh.parallelize(data, 2).map(n => [n, n * n])
      const expected = data.filter(n => n >= lower && n <= upper).map(n => [n, n * n])
      expect(await pairs.filterByRange(lower, upper).collect()).toEqual(expected)
      const sorted = pairs.sortByKey(ascending, s)
      const sign = ascending ? 1 : -1
      expect(await sorted.filterByRange(lower, upper).collect()).toEqual(
        expected.toSorted(([a], [b]) => sign * (a! - b!)),
      )
    })
    const local = createLocal()
    for (const ascending of [true, false]) {
      const sorted = local
        .range(1_000)
        .map(n => [n, null])
        .sortByKey(ascending, 10)
      await sorted.count()
      const within = sorted.filterByRange(500, 520)
      const partitions = await within.getNumPartitions()
      expect(partitions).toBeGreaterThan(0)
      expect(partitions).toBeLessThan(4)
      expect(await within.count()).toBe(21)
      expect(await within.explain()).toMatch(/of the 10 of #\d+: the others cannot match/)
    }
    const none = local
      .range(10)
      .map(n => [n, n])
      .sortByKey()
      .filterByRange(5, 2)
    expect(await none.collect()).toEqual([])
  })

  test('partitionByRange puts neighbours together without sorting', async () => {
    const parts = await mesh
      .parallelize([5, 1, 9, 2, 8, 3], 2)
      .keyBy(n => n)
      .partitionByRange(3)
      .values()
      .glom()
      .collect()
    expect(parts.flat().toSorted((a, b) => a - b)).toEqual([1, 2, 3, 5, 8, 9])
    const full = parts.filter(part => part.length > 0)
    for (let i = 1; i < full.length; i++)
      expect(Math.max(...full[i - 1]!)).toBeLessThan(Math.min(...full[i]!))
  })

  test('partitioners are equal by what they do: hash by count, custom by function, range by bounds', async () => {
    const pairs = mesh.range(20).map(n => [n % 5, n])
    const modulo = (key: number): number => key % 2
    expect(
      await pairs
        .partitionBy(2, modulo)
        .reduceByKey((a, b) => a + b, 2, modulo)
        .explain(),
    ).not.toMatch(/reduceByKey.*shuffle by/)
    expect(
      await pairs
        .partitionBy(2, modulo)
        .reduceByKey(
          (a, b) => a + b,
          2,
          key => key % 3,
        )
        .explain(),
    ).toMatch(/reduceByKey.*shuffle by custom/)
    expect(
      await pairs
        .partitionBy(3)
        .reduceByKey((a, b) => a + b, 2)
        .explain(),
    ).toMatch(/reduceByKey.*shuffle by hash/)
    expect(await pairs.sortByKey().groupByKey().explain()).not.toMatch(/groupByKey.*shuffle by/)
    expect(await pairs.map(pair => pair).partitioner()).toBeUndefined()
    expect(await pairs.sortByKey(true, 2).partitioner()).toEqual({ kind: 'range', numPartitions: 2 })
  })
})
