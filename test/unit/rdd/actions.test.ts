import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareValues } from '../../../src/rdd/engine/ordering.ts'
import { gather } from '../../support/gather.ts'
import { createLocal } from '../../../src/rdd/local-runner.ts'

const mesh = createLocal()
const partitionCounts = fc.integer({ min: 1, max: 6 })
const numbers = fc.array(fc.integer({ min: -20, max: 20 }), { maxLength: 30 })

function check<T>(
  data: fc.Arbitrary<T>,
  claim: (data: T, partitions: number) => Promise<void>,
): Promise<void> {
  return fc.assert(fc.asyncProperty(data, partitionCounts, claim), { numRuns: 40 })
}

/** Map tasks and result tasks that ran meanwhile. */
async function tasksOf(work: () => Promise<unknown>): Promise<number> {
  const total = (): number => [...mesh.runner.tasksRun.values()].reduce((a, b) => a + b, 0)
  const before = total()
  await work()
  return total() - before
}

describe('elements', () => {
  test('collect, count, isEmpty, for await and toLocalIterator agree with the data', async () => {
    await check(numbers, async (data, s) => {
      const rdd = mesh.parallelize(data, s)
      expect(await rdd.collect()).toEqual(data)
      expect(await rdd.count()).toBe(data.length)
      expect(await rdd.isEmpty()).toBe(data.length === 0)
      expect(await gather(rdd)).toEqual(data)
      expect(await gather(rdd.toLocalIterator())).toEqual(data)
    })
  })

  test('take gives the first elements, first the very first', async () => {
    await check(fc.tuple(numbers, fc.nat(40)), async ([data, n], s) => {
      const rdd = mesh.parallelize(data, s)
      expect(await rdd.take(n)).toEqual(data.slice(0, n))
      if (data.length > 0) expect(await rdd.first()).toBe(data[0])
    })
  })

  test('take looks at one partition, then at four times as many while they are empty', async () => {
    expect(await tasksOf(() => mesh.range(0, 100, 1, 10).take(3))).toBe(1)
    expect(await tasksOf(() => mesh.range(0, 100, 1, 10).take(0))).toBe(0)
    const late = mesh.range(0, 100, 1, 10).filter(n => n >= 90)
    expect(await late.take(1)).toEqual([90])
    expect(await tasksOf(() => late.take(1))).toBe(1 + 4 + 5)
  })

  test('take stops reading within the partition', async () => {
    const endless = mesh.range(0, 1, 1, 1).flatMap(function* () {
      for (let n = 0; ; n++) yield n
    })
    expect(await endless.take(3)).toEqual([0, 1, 2])
  })

  test('toLocalIterator runs a partition only when the one before is used up', async () => {
    const seen: number[] = []
    const tasks = await tasksOf(async () => {
      for await (const n of mesh.range(0, 40, 1, 10)) {
        seen.push(n)
        if (n === 5) break
      }
    })
    expect(seen).toEqual([0, 1, 2, 3, 4, 5])
    expect(tasks).toBe(2)
  })

  test('collectAsMap and lookup find values by content; the last of a key wins', async () => {
    const pairs = mesh.parallelize(
      [
        [{ id: 1 }, 'a'],
        [{ id: 2 }, 'b'],
        [{ id: 1 }, 'c'],
      ],
      2,
    )
    expect(await pairs.collectAsMap()).toEqual(
      new Map([
        [{ id: 1 }, 'c'],
        [{ id: 2 }, 'b'],
      ]),
    )
    expect(await pairs.lookup({ id: 1 })).toEqual(['a', 'c'])
    expect(await pairs.lookup({ id: 3 })).toEqual([])
  })

  test('lookup reads one partition where the partitioner is known', async () => {
    const pairs = mesh.range(0, 60, 1, 3).keyBy(n => n % 7)
    const expected = Array.from({ length: 60 }, (_, n) => n).filter(n => n % 7 === 3)
    expect(await tasksOf(async () => expect(await pairs.lookup(3)).toEqual(expected))).toBe(3)
    for (const known of [pairs.partitionBy(5), pairs.partitionBy(5, n => n - 9), pairs.sortByKey(false, 5)]) {
      // Bounds are sampled first, so that only the lookup itself is counted.
      await known.count()
      expect(await tasksOf(async () => expect(await known.lookup(3)).toEqual(expected))).toBe(3 + 1)
    }
  })
})

describe('folds', () => {
  test('reduce, fold and aggregate fold from left to right', async () => {
    await check(numbers, async (data, s) => {
      const texts = mesh.parallelize(data, s).map(n => `${n};`)
      const all = data.map(n => `${n};`).join('')
      if (data.length > 0) expect(await texts.reduce((a, b) => a + b)).toBe(all)
      expect(await texts.fold('', (a, b) => a + b)).toBe(all)
      const listed = await texts.aggregate(
        [] as string[],
        (acc, text) => {
          acc.push(text)
          return acc
        },
        (a, b) => [...a, ...b],
      )
      expect(listed.join('')).toBe(all)
    })
  })

  test('fold applies its zero once a partition and once more, as in PySpark', async () => {
    expect(await mesh.parallelize([1, 2, 3], 2).fold(10, (a, b) => a + b)).toBe(6 + 10 * 3)
  })

  test('sum, mean, min, max and the deviations agree with the formulas', async () => {
    await check(numbers, async (data, s) => {
      const rdd = mesh.parallelize(data, s)
      const sum = data.reduce((a, b) => a + b, 0)
      expect(await rdd.sum()).toBe(sum)
      const stats = await rdd.stats()
      expect(stats.count).toBe(data.length)
      expect(stats.sum).toBeCloseTo(sum, 9)
      const mean = data.length === 0 ? 0 : sum / data.length
      expect(await rdd.mean()).toBeCloseTo(mean, 9)
      if (data.length === 0) return
      const squares = data.reduce((total, n) => total + (n - mean) ** 2, 0)
      expect(await rdd.variance()).toBeCloseTo(squares / data.length, 9)
      expect(await rdd.stdev()).toBeCloseTo(Math.sqrt(squares / data.length), 9)
      if (data.length > 1) expect(await rdd.sampleVariance()).toBeCloseTo(squares / (data.length - 1), 9)
      expect([stats.min, stats.max]).toEqual([Math.min(...data), Math.max(...data)])
      expect([await rdd.min(), await rdd.max()]).toEqual([Math.min(...data), Math.max(...data)])
    })
  })

  test('variance does not cancel for large means', async () => {
    const numbers = mesh.parallelize([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], 3)
    expect(await numbers.variance()).toBe(22.5)
    expect(await numbers.sampleVariance()).toBe(30)
  })

  test('stats of nothing are those of PySpark', async () => {
    expect(await mesh.range(0).stats()).toEqual({
      count: 0,
      sum: 0,
      mean: 0,
      min: Number.POSITIVE_INFINITY,
      max: Number.NEGATIVE_INFINITY,
      variance: Number.NaN,
      stdev: Number.NaN,
      sampleVariance: Number.NaN,
      sampleStdev: Number.NaN,
    })
  })

  test('min and max with a key give the first of those that tie', async () => {
    const words = mesh.parallelize(['bb', 'a', 'c', 'dd'], 3)
    expect(await words.max(word => word.length)).toBe('bb')
    expect(await words.min(word => word.length)).toBe('a')
  })

  test('takeOrdered and top are stable and order by key where given', async () => {
    await check(fc.tuple(numbers, fc.nat(12)), async ([data, n], s) => {
      const rows = data.map((value, at) => ({ value, at }))
      const rdd = mesh.parallelize(rows, s)
      const up = rows.toSorted((a, b) => a.value - b.value)
      expect(await rdd.takeOrdered(n, row => row.value)).toEqual(up.slice(0, n))
      const down = rows.toSorted((a, b) => b.value - a.value)
      expect(await rdd.top(n, row => row.value)).toEqual(down.slice(0, n))
      expect(await mesh.parallelize(data, s).takeOrdered(n)).toEqual(data.toSorted(compareValues).slice(0, n))
    })
  })

  test('takeOrdered and top of many elements keep only the best on the way', async () => {
    const many = mesh.range(0, 20_000, 1, 3).map(n => (n * 7919) % 20_011)
    const all = Array.from({ length: 20_000 }, (_, n) => (n * 7919) % 20_011).sort((a, b) => a - b)
    expect(await many.takeOrdered(700)).toEqual(all.slice(0, 700))
    expect(await many.top(3)).toEqual(all.toReversed().slice(0, 3))
  })

  test('countByKey and countByValue count by content, in order of first occurrence', async () => {
    const data = [[1], ['1'], [1], [-0], [0], [Number.NaN], [Number.NaN]]
    const counts = await mesh.parallelize(data, 3).countByValue()
    expect([...counts]).toEqual([
      [[1], 2],
      [['1'], 1],
      [[-0], 2],
      [[Number.NaN], 2],
    ])
    const byKey = await mesh
      .parallelize(
        [
          ['b', 1],
          ['a', 2],
          ['b', 3],
          ['__proto__', 4],
        ],
        3,
      )
      .countByKey()
    expect([...byKey]).toEqual([
      ['b', 2],
      ['a', 1],
      ['__proto__', 1],
    ])
  })

  test('a floating-point sum is the same on every run', async () => {
    const tenths = mesh.range(0, 1000, 1, 7).map(n => n / 10)
    const first = await tenths.sum()
    for (let run = 0; run < 3; run++) expect(await tenths.sum()).toBe(first)
  })
})

describe('effects', () => {
  test('forEach and forEachPartition see everything once', async () => {
    // The functions run in this process here, but as copies: the global object is what they share with the test.
    const seen: number[] = []
    Reflect.set(globalThis, 'shoalTestSeen', seen)
    try {
      await mesh
        .range(0, 5, 1, 2)
        .forEach(n => (Reflect.get(globalThis, 'shoalTestSeen') as number[]).push(n))
      await mesh.range(5, 9, 1, 3).forEachPartition(elements => {
        for (const n of elements) (Reflect.get(globalThis, 'shoalTestSeen') as number[]).push(n)
      })
    } finally {
      Reflect.deleteProperty(globalThis, 'shoalTestSeen')
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  })

  test('saveAsTextFile writes lines that textFile reads back, one part a partition', async () => {
    const local = createLocal()
    await local.parallelize(['a', 'ü', '', 'd'], 3).saveAsTextFile('/out')
    expect(local.files.list('/out')).toEqual([
      '/out/_SUCCESS',
      '/out/part-00000',
      '/out/part-00001',
      '/out/part-00002',
    ])
    expect(await local.textFile('/out').collect()).toEqual(['a', 'ü', '', 'd'])
    await local.parallelize([1, null, 2.5], 1).saveAsTextFile('/numbers')
    expect(await local.textFile('/numbers').collect()).toEqual(['1', 'null', '2.5'])
  })

  test('saveAsTextFile refuses a path that exists before anything runs', async () => {
    const local = createLocal({ files: { '/out/part-00000': 'old\n' } })
    await expect(local.range(3).saveAsTextFile('/out')).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      details: { path: '/out' },
    })
    expect(local.runner.tasksRun.size).toBe(0)
    expect(await local.textFile('/out').collect()).toEqual(['old'])
  })
})

describe('failures', () => {
  test('of nothing: reduce, first, min and max are EMPTY_RDD errors that name the action', async () => {
    const nothing = mesh.range(10).filter(() => false)
    const actions = {
      reduce: () => nothing.reduce((a, b) => a + b),
      first: () => nothing.first(),
      min: () => nothing.min(),
      max: () => mesh.emptyRDD<number>().max(),
    }
    for (const [action, run] of Object.entries(actions)) {
      await expect(run(), action).rejects.toMatchObject({ code: 'EMPTY_RDD', details: { action } })
    }
  })

  test('an RDD without partitions collects, counts, groups and sorts to nothing', async () => {
    const none = mesh.emptyRDD<readonly [string, number]>()
    expect(await none.getNumPartitions()).toBe(0)
    expect(await none.collect()).toEqual([])
    expect(await none.count()).toBe(0)
    expect(await none.groupByKey().collect()).toEqual([])
    expect(await none.sortByKey().collect()).toEqual([])
    expect(await none.join(none).collect()).toEqual([])
    expect(await none.take(3)).toEqual([])
    expect(await none.values().sum()).toBe(0)
  })

  test("a function's error rejects the action with the user's line, the stage and the partition", async () => {
    const failing = mesh.range(0, 10, 1, 5).map(n => {
      if (n === 7) throw new Error(`no sevens`)
      return n
    })
    await expect(failing.count()).rejects.toMatchObject({
      code: 'TASK_FAILED',
      details: {
        stage: 0,
        partition: 3,
        stack: expect.stringMatching(/no sevens[\s\S]*actions\.test\.ts:\d+/),
      },
    })
  })

  test('counts and partition numbers that make no sense are refused at the call', async () => {
    const rdd = mesh.parallelize([['a', 1]])
    const refused = { code: 'PLAN_INVALID' }
    for (const bad of [0, -1, 1.5, Number.NaN]) {
      expect(() => mesh.parallelize([1], bad)).toThrow(expect.objectContaining(refused))
      expect(() => rdd.repartition(bad)).toThrow(expect.objectContaining(refused))
      expect(() => rdd.reduceByKey((a, b) => a + b, bad)).toThrow(expect.objectContaining(refused))
      expect(() => rdd.sortByKey(true, bad)).toThrow(expect.objectContaining(refused))
    }
    expect(() => mesh.range(0, 10, 0)).toThrow(expect.objectContaining(refused))
    expect(() => mesh.range(0, 1.5)).toThrow(expect.objectContaining(refused))
    expect(() => mesh.textFile([])).toThrow(expect.objectContaining(refused))
    await expect(rdd.take(-1)).rejects.toMatchObject(refused)
    await expect(rdd.top(0.5)).rejects.toMatchObject(refused)
    expect(() => rdd.map(Reflect.get({}, 'missing') as () => number)).toThrow(
      expect.objectContaining(refused),
    )
  })

  test('an aborted action rejects with the reason of its signal and runs nothing more', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const iterator = mesh.range(0, 10, 1, 5).toLocalIterator({ signal: controller.signal })
    expect(await iterator.next()).toEqual({ done: false, value: 0 })
    expect(await iterator.next()).toEqual({ done: false, value: 1 })
    controller.abort(reason)
    await expect(iterator.next()).rejects.toBe(reason)
    const tasks = await tasksOf(() =>
      expect(mesh.range(5).count({ signal: controller.signal })).rejects.toBe(reason),
    )
    expect(tasks).toBe(0)
  })
})
