import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareValues } from '../../../src/rdd/engine/ordering.ts'
import { createLocal } from '../../../src/rdd/local-runner.ts'

/** Every operator against a naive oracle, over random data and partition counts (also more partitions than elements). */

const mesh = createLocal()
const partitionCounts = fc.integer({ min: 1, max: 6 })
const numbers = fc.array(fc.integer({ min: -20, max: 20 }), { maxLength: 30 })
const key = fc.oneof(
  fc.constantFrom<unknown>('a', 'b', '1', 1, 1.5, 0, -0, Number.NaN, true, null, '__proto__'),
  fc.tuple(fc.constantFrom(1, 2), fc.constantFrom('x', 'y')),
  fc.record({ id: fc.constantFrom(1, 2) }),
)
const pairs = fc.array(fc.tuple(key, fc.integer({ min: 0, max: 9 })), { maxLength: 25 })

function check<T>(
  data: fc.Arbitrary<T>,
  claim: (data: T, partitions: number) => Promise<void>,
): Promise<void> {
  return fc.assert(fc.asyncProperty(data, partitionCounts, claim), { numRuns: 40 })
}

/** Key as the mesh compares it, as text. */
function canonical(value: unknown): string {
  if (typeof value === 'number') return `number ${value === 0 ? 0 : value}`
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value)
      .map(([name, item]) => `${name}:${canonical(item)}`)
      .sort()
      .join()}}`
  }
  return `${typeof value} ${String(value)}`
}

/** The values of each key in order. */
function grouped<V>(data: readonly (readonly [unknown, V])[]): Map<string, V[]> {
  const groups = new Map<string, V[]>()
  for (const [key, value] of data) groups.set(canonical(key), [...(groups.get(canonical(key)) ?? []), value])
  return groups
}

/** Rows of a dataset with distinct keys, by key. */
function byKey<V>(rows: readonly (readonly [unknown, V])[]): Map<string, V> {
  const map = new Map(rows.map(([key, value]) => [canonical(key), value]))
  expect(map.size, 'each key once').toBe(rows.length)
  return map
}

/** Any order. */
function bag(rows: readonly unknown[]): string[] {
  return rows.map(canonical).sort()
}

describe('one partition at a time', () => {
  test('parallelize cuts slice i from floor(i·n/s) to floor((i+1)·n/s)', async () => {
    await check(numbers, async (data, s) => {
      const cut = (i: number): number => Math.floor((i * data.length) / s)
      const slices = Array.from({ length: s }, (_, i) => data.slice(cut(i), cut(i + 1)))
      expect(await mesh.parallelize(data, s).glom().collect()).toEqual(slices)
    })
  })

  test('range counts up and down, from 0 with one argument, and is cut like parallelize', async () => {
    const bounds = fc.tuple(
      fc.integer({ min: -9, max: 9 }),
      fc.integer({ min: -9, max: 9 }),
      fc.constantFrom(1, 2, 3, -1, -4),
    )
    await check(bounds, async ([start, end, step], s) => {
      const data: number[] = []
      for (let n = start; step > 0 ? n < end : n > end; n += step) data.push(n)
      const slices = await mesh.parallelize(data, s).glom().collect()
      expect(await mesh.range(start, end, step, s).glom().collect()).toEqual(slices)
    })
    expect(await mesh.range(3).collect()).toEqual([0, 1, 2])
  })

  test('map, filter and flatMap keep the order of elements', async () => {
    await check(numbers, async (data, s) => {
      const result = mesh
        .parallelize(data, s)
        .map(n => n * 3)
        .filter(n => n % 2 === 0)
        .flatMap(n => [n, `${n}`])
      expect(await result.collect()).toEqual(
        data
          .map(n => n * 3)
          .filter(n => n % 2 === 0)
          .flatMap(n => [n, `${n}`]),
      )
    })
  })

  test('flatMap takes any iterable', async () => {
    const data = mesh.parallelize([1, 2, 3], 2)
    expect(await data.flatMap(n => new Set([n, n, n + 1])).collect()).toEqual([1, 2, 2, 3, 3, 4])
    const generated = data.flatMap(function* (n) {
      for (let i = 0; i < n; i++) yield i
    })
    expect(await generated.collect()).toEqual([0, 0, 1, 0, 1, 2])
    expect(await data.flatMap(n => 'ab'.repeat(n - 1)).collect()).toEqual(['a', 'b', 'a', 'b', 'a', 'b'])
  })

  test('mapPartitions sees whole partitions, with their index where asked', async () => {
    await check(numbers, async (data, s) => {
      const slices = await mesh.parallelize(data, s).glom().collect()
      const sums = mesh.parallelize(data, s).mapPartitions(function* (elements) {
        let sum = 0
        for (const n of elements) sum += n
        yield sum
      })
      expect(await sums.collect()).toEqual(slices.map(slice => slice.reduce((a, b) => a + b, 0)))
      const marked = mesh
        .parallelize(data, s)
        .mapPartitionsWithIndex((i, elements) => elements.map(n => [i, n]))
      expect(await marked.collect()).toEqual(slices.flatMap((slice, i) => slice.map(n => [i, n])))
    })
  })

  test('keyBy, keys, values, mapValues and flatMapValues work on the parts of pairs', async () => {
    await check(numbers, async (data, s) => {
      const keyed = mesh.parallelize(data, s).keyBy(n => n % 3)
      expect(await keyed.collect()).toEqual(data.map(n => [n % 3, n]))
      expect(await keyed.keys().collect()).toEqual(data.map(n => n % 3))
      expect(await keyed.values().collect()).toEqual(data)
      expect(await keyed.mapValues(n => n + 1).collect()).toEqual(data.map(n => [n % 3, n + 1]))
      expect(await keyed.flatMapValues(n => [n, n]).collect()).toEqual(
        data.flatMap(n => [
          [n % 3, n],
          [n % 3, n],
        ]),
      )
    })
  })

  test('textFile gives the same lines for any number of partitions', async () => {
    const line = fc.string({ maxLength: 6 }).map(text => text.replaceAll(/[\r\n]/g, '_').toWellFormed())
    await check(fc.tuple(fc.array(line, { maxLength: 12 }), fc.boolean()), async ([lines, closed], s) => {
      const text = lines.join('\n') + (closed && lines.length > 0 ? '\n' : '')
      const expected = text.split('\n')
      if (expected.at(-1) === '') expected.pop()
      const local = createLocal({ files: { '/t': text } })
      expect(await local.textFile('/t', s).collect()).toEqual(expected)
    })
  })

  test('textFile reads several files in the order given, and the parts of a directory in theirs', async () => {
    const local = createLocal({ files: { '/d/part-1': 'b\n', '/d/part-0': 'a\n', '/e': 'c', '/empty': '' } })
    expect(await local.textFile(['/e', '/d', '/empty']).collect()).toEqual(['c', 'a', 'b'])
    await expect(local.textFile('/none').count()).rejects.toMatchObject({
      code: 'NOT_FOUND',
      details: { path: '/none' },
    })
  })
})

describe('arranged otherwise', () => {
  test('union keeps duplicates, partitions one after the other', async () => {
    await check(fc.tuple(numbers, numbers), async ([left, right], s) => {
      const both = mesh.parallelize(left, s).union(mesh.parallelize(right, 2))
      expect(await both.collect()).toEqual([...left, ...right])
      expect(await both.getNumPartitions()).toBe(s + 2)
      const doubled = mesh.parallelize(left, s)
      expect(await mesh.union([doubled, doubled, doubled]).collect()).toEqual([...left, ...left, ...left])
    })
    expect(await mesh.union([]).collect()).toEqual([])
  })

  test('coalesce keeps the order of the elements, in at most as many partitions, without a shuffle', async () => {
    await check(fc.tuple(numbers, partitionCounts), async ([data, wanted], s) => {
      const fewer = mesh
        .parallelize(data, s)
        .map(x => x + 1)
        .coalesce(wanted)
      expect(await fewer.map(x => x - 1).collect()).toEqual(data)
      expect(await fewer.getNumPartitions()).toBe(Math.min(s, wanted))
      expect(await fewer.explain()).toContain('in 1 stage')
      expect(await fewer.take(2)).toEqual(data.slice(0, 2).map(x => x + 1))
    })
    const byLength = mesh.parallelize(['a', 'bb', 'cc'], 3).groupBy(word => word.length, 4)
    expect((await byLength.coalesce(2).collect()).toSorted(([a], [b]) => a - b)).toEqual([
      [1, ['a']],
      [2, ['bb', 'cc']],
    ])
    expect(await byLength.coalesce(9, true).getNumPartitions()).toBe(9)
  })

  test('zip pairs elements at the same place, and says which partition does not fit', async () => {
    await check(numbers, async (data, s) => {
      const left = mesh.parallelize(data, s)
      const zipped = left.zip(left.map(x => `${x}`)).mapValues(text => text.length)
      expect(await zipped.collect()).toEqual(data.map(x => [x, `${x}`.length]))
    })
    const odd = mesh.range(0, 10, 1, 2).filter(x => x !== 7 && x !== 8)
    await expect(mesh.range(0, 10, 1, 2).zip(odd).collect()).rejects.toMatchObject({
      code: 'ZIP_LENGTHS',
      message: expect.stringContaining('partition 1 has 5 elements on the left and 3 on the right'),
    })
    await expect(
      mesh
        .range(4, 8, 1, 2)
        .zip(mesh.range(4, 8, 1, 3))
        .collect(),
    ).rejects.toMatchObject({
      code: 'PLAN_INVALID',
      message: expect.stringContaining('2 and 3'),
    })
  })

  test('zipPartitions gives an iterator over each', async () => {
    await check(fc.tuple(numbers, numbers), async ([data, more], s) => {
      const words = mesh.parallelize(more, s).map(x => `${x}`)
      const mixed = mesh.parallelize(data, s).zipPartitions([words, words], (xs, some, again) => {
        let sum = 0
        for (const x of xs) sum += x
        return [[sum, [...some].join(), [...again].length] as const]
      })
      const slice = <T>(all: readonly T[], i: number): T[] =>
        all.slice(Math.floor((i * all.length) / s), Math.floor(((i + 1) * all.length) / s))
      expect(await mixed.collect()).toEqual(
        Array.from({ length: s }, (_, i) => [
          slice(data, i).reduce((sum, x) => sum + x, 0),
          slice(more, i).join(),
          slice(more, i).length,
        ]),
      )
    })
  })

  test('cartesian brings every element together with every other', async () => {
    await check(fc.tuple(numbers, numbers), async ([data, more], s) => {
      const all = mesh.parallelize(data, s).cartesian(mesh.parallelize(more, 2).filter(x => x > 0))
      const expected = data.flatMap(x => more.filter(y => y > 0).map(y => `${x},${y}`))
      expect((await all.map(pair => pair.join()).collect()).toSorted()).toEqual(expected.toSorted())
      expect(await all.getNumPartitions()).toBe(s * 2)
    })
  })

  test('distinct gives one of each, by content, in as many partitions', async () => {
    await check(fc.array(key, { maxLength: 25 }), async (data, s) => {
      const distinct = mesh.parallelize(data, s).distinct()
      expect(bag(await distinct.collect())).toEqual([...new Set(data.map(canonical))].sort())
      expect(await distinct.getNumPartitions()).toBe(s)
    })
  })

  test('repartition keeps all elements and deals them out evenly', async () => {
    await check(numbers, async (data, s) => {
      const dealt = mesh.parallelize(data, 2).repartition(s)
      expect(bag(await dealt.collect())).toEqual(bag(data))
      const sizes = (await dealt.glom().collect()).map(slice => slice.length)
      expect(sizes.length).toBe(s)
      // Each of the two inputs deals evenly on its own.
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(2)
    })
  })

  test('sortBy is a stable sort in the default order, both ways, over any number of partitions', async () => {
    const rows = fc.array(
      fc.record({
        key: fc.oneof(
          numbers.map(n => n.length),
          key,
        ),
        at: fc.nat(),
      }),
      { maxLength: 25 },
    )
    await check(rows, async (data, s) => {
      const rdd = mesh.parallelize(data, 3)
      const up = data.toSorted((a, b) => compareValues(a.key, b.key))
      expect(await rdd.sortBy(row => row.key, true, s).collect()).toEqual(up)
      const down = data.toSorted((a, b) => compareValues(b.key, a.key))
      expect(await rdd.sortBy(row => row.key, false, s).collect()).toEqual(down)
    })
  })

  test('sortBy sorts numbers by value, not as text', async () => {
    expect(
      await mesh
        .parallelize([10, 9, 1, -2, 100], 3)
        .sortBy(n => n)
        .collect(),
    ).toEqual([-2, 1, 9, 10, 100])
  })

  test('sortBy spreads distinct keys over all partitions', async () => {
    const sizes = await mesh
      .range(0, 4000, 1, 5)
      .sortBy(n => (n * 7919) % 4001, true, 4)
      .mapPartitions(elements => [[...elements].length])
      .collect()
    expect(sizes.length).toBe(4)
    expect(Math.min(...sizes)).toBeGreaterThan(500)
  })

  test('sortByKey sorts by key, or by a function of it, and keeps the pairs', async () => {
    await check(pairs, async (data, s) => {
      const up = data.toSorted((a, b) => compareValues(a[0], b[0]))
      expect(await mesh.parallelize(data, 2).sortByKey(true, s).collect()).toEqual(up)
    })
    const words = mesh.parallelize(
      [
        ['bb', 1],
        ['A', 2],
        ['ccc', 3],
        ['B', 4],
      ],
      2,
    )
    expect(
      await words
        .sortByKey(true, 3, word => word.toLowerCase())
        .keys()
        .collect(),
    ).toEqual(['A', 'B', 'bb', 'ccc'])
    expect(
      await words
        .sortByKey(false, 2, word => word.length)
        .values()
        .collect(),
    ).toEqual([3, 1, 2, 4])
  })

  test('partitionBy sends equal keys to one partition, and each pair somewhere', async () => {
    await check(pairs, async (data, s) => {
      const slices = await mesh.parallelize(data, 3).partitionBy(s).glom().collect()
      expect(slices.length).toBe(s)
      expect(bag(slices.flat())).toEqual(bag(data))
      const homes = slices.flatMap(slice => [...new Set(slice.map(([key]) => canonical(key)))])
      expect(new Set(homes).size).toBe(homes.length)
    })
  })

  test('a partition function decides, its negative results taken as non-negative remainders', async () => {
    const slices = await mesh
      .range(-4, 5)
      .keyBy(n => n)
      .partitionBy(3, n => n)
      .keys()
      .glom()
      .collect()
    expect(slices).toEqual([
      [-3, 0, 3],
      [-2, 1, 4],
      [-4, -1, 2],
    ])
  })
})

describe('by key', () => {
  test('groupByKey and groupBy bring all values of a key together, in partition order', async () => {
    await check(pairs, async (data, s) => {
      expect(byKey(await mesh.parallelize(data, 3).groupByKey(s).collect())).toEqual(grouped(data))
      const byValue = await mesh
        .parallelize(data, s)
        .groupBy(([, value]) => value)
        .collect()
      expect(byKey(byValue)).toEqual(grouped(data.map(pair => [pair[1], pair])))
    })
  })

  test('reduceByKey reduces the values of a key from left to right', async () => {
    await check(pairs, async (data, s) => {
      const joined = mesh
        .parallelize(data, s)
        .mapValues(n => `${n}`)
        .reduceByKey((a, b) => a + b)
      expect(byKey(await joined.collect())).toEqual(
        new Map([...grouped(data)].map(([key, values]) => [key, values.join('')])),
      )
    })
  })

  test('combineByKey, aggregateByKey and foldByKey agree with grouping first', async () => {
    await check(pairs, async (data, s) => {
      const rdd = mesh.parallelize(data, s)
      const expected = grouped(data)
      const combined = rdd.combineByKey(
        n => [n],
        (all, n) => [...all, n],
        (a, b) => [...a, ...b],
      )
      expect(byKey(await combined.collect())).toEqual(expected)
      const aggregated = rdd.aggregateByKey(
        { all: [] as number[] },
        (acc, n) => {
          acc.all.push(n)
          return acc
        },
        (a, b) => ({ all: [...a.all, ...b.all] }),
        4,
      )
      expect(byKey(await aggregated.mapValues(({ all }) => all).collect())).toEqual(expected)
      const folded = rdd.foldByKey(0, (a, b) => a + b)
      const sums = new Map([...expected].map(([key, values]) => [key, values.reduce((a, b) => a + b, 0)]))
      expect(byKey(await folded.collect())).toEqual(sums)
    })
  })

  test('a zero that is changed in place is a fresh copy for each key and partition', async () => {
    const data = mesh.parallelize(
      [
        ['a', 1],
        ['b', 2],
        ['a', 3],
        ['c', 4],
      ],
      2,
    )
    const lists = data.aggregateByKey(
      [] as number[],
      (acc, n) => {
        acc.push(n)
        return acc
      },
      (a, b) => [...a, ...b],
    )
    expect(await lists.collectAsMap()).toEqual(
      new Map([
        ['a', [1, 3]],
        ['b', [2]],
        ['c', [4]],
      ]),
    )
  })

  test('joins give every pair of values; a missing side is null', async () => {
    await check(fc.tuple(pairs, pairs), async ([left, right], s) => {
      const [a, b] = [mesh.parallelize(left, 2), mesh.parallelize(right, 3)]
      const [lefts, rights] = [grouped(left), grouped(right)]
      const expected = (keepLeft: boolean, keepRight: boolean): string[] => {
        const rows: string[] = []
        for (const key of new Set([...lefts.keys(), ...rights.keys()])) {
          const here = lefts.get(key) ?? (keepRight ? [null] : [])
          const there = rights.get(key) ?? (keepLeft ? [null] : [])
          for (const x of here) for (const y of there) rows.push(`${key}:${x},${y}`)
        }
        return rows.sort()
      }
      const actual = (rows: readonly (readonly [unknown, readonly [unknown, unknown]])[]): string[] =>
        rows.map(([key, [x, y]]) => `${canonical(key)}:${String(x)},${String(y)}`).sort()
      expect(actual(await a.join(b, s).collect())).toEqual(expected(false, false))
      expect(actual(await a.leftOuterJoin(b, s).collect())).toEqual(expected(true, false))
      expect(actual(await a.rightOuterJoin(b).collect())).toEqual(expected(false, true))
      expect(actual(await a.fullOuterJoin(b, s).collect())).toEqual(expected(true, true))
      const cogrouped = byKey(await a.cogroup(b, s).collect())
      expect(new Set(cogrouped.keys())).toEqual(new Set([...lefts.keys(), ...rights.keys()]))
      for (const [key, sides] of cogrouped)
        expect(sides).toEqual([lefts.get(key) ?? [], rights.get(key) ?? []])
    })
  })

  test('joining what is partitioned alike gives the same rows as joining what is not', async () => {
    await check(fc.tuple(pairs, pairs), async ([left, right], s) => {
      const [a, b] = [mesh.parallelize(left, 2), mesh.parallelize(right, 3)]
      const shuffled = await a.join(b, s).collect()
      expect(bag(await a.partitionBy(s).join(b.partitionBy(s)).collect())).toEqual(bag(shuffled))
      expect(bag(await a.partitionBy(s).join(b).collect())).toEqual(bag(shuffled))
      expect(bag(await a.sortByKey(true, s).join(b.sortByKey(true, s)).collect())).toEqual(bag(shuffled))
    })
  })

  test('reducing what is partitioned already needs no shuffle and gives the same', async () => {
    await check(pairs, async (data, s) => {
      const parted = mesh.parallelize(data, 3).partitionBy(s)
      const sums = await parted.reduceByKey((a, b) => a + b).collect()
      expect(byKey(sums)).toEqual(
        byKey(
          await mesh
            .parallelize(data, 3)
            .reduceByKey((a, b) => a + b, s)
            .collect(),
        ),
      )
      expect(byKey(await parted.groupByKey().collect())).toEqual(grouped(data))
      expect(byKey(await parted.foldByKey(0, (a, b) => a + b).collect())).toEqual(byKey(sums))
      const listed = parted.combineByKey(
        n => [n],
        (all, n) => [...all, n],
        (a, b) => [...a, ...b],
      )
      expect(byKey(await listed.collect())).toEqual(grouped(data))
    })
  })

  test('values keep their type through a shuffle', async () => {
    const values = [
      new Date(5),
      new Map([[1, new Set(['x'])]]),
      12n,
      new Uint8Array([1, 2]),
      undefined,
      null,
      Number.NaN,
      -0,
      Number.POSITIVE_INFINITY,
      '\ud800',
      [{ deep: [new Date(Number.NaN)] }],
    ]
    const moved = mesh
      .parallelize(values, 3)
      .keyBy(() => 'k')
      .groupByKey(2)
      .flatMap(([, all]) => all)
    expect(await moved.collect()).toEqual(values)
  })
})
