import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { boundedCount, boundedMean, boundedSum, normalQuantile } from '../../../../src/rdd/approximate.ts'
import { addToSketch, estimateDistinct, newSketch } from '../../../../src/rdd/engine/distinct-sketch.ts'
import { wideHash } from '../../../../src/rdd/engine/wide-hash.ts'
import type { JobRunner } from '../../../../src/rdd/job-runner.ts'
import { createDatasets } from '../../../../src/rdd/context.ts'
import { createLocal } from '../../../../src/rdd/local-runner.ts'

const mesh = createLocal()
const partitionCounts = fc.integer({ min: 1, max: 40 })
const numbers = fc.array(fc.integer({ min: -9, max: 9 }), { maxLength: 60 })

describe('trees', () => {
  test('treeReduce and treeAggregate keep the order of elements, whatever the depth', async () => {
    const words = fc.array(fc.constantFrom<string>('a', 'b', 'c'), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(words, partitionCounts, fc.integer({ min: 1, max: 4 }), async (data, s, depth) => {
        const rdd = mesh.parallelize(data, s)
        // Concatenation is associative, not commutative.
        const lists = rdd.treeAggregate(
          [] as string[],
          (all, word) => [...all, word],
          (a, b) => [...a, ...b],
          depth,
        )
        expect(await lists).toEqual(data)
        if (data.length === 0)
          await expect(rdd.treeReduce((a, b) => a + b, depth)).rejects.toMatchObject({ code: 'EMPTY_RDD' })
        else expect(await rdd.treeReduce((a, b) => a + b, depth)).toBe(data.join(''))
      }),
      { numRuns: 30 },
    )
  })

  test('of 64 partitions few partial results reach the requester', async () => {
    const local = createLocal()
    expect(await local.range(0, 640, 1, 64).treeReduce((a, b) => a + b, 2)).toBe((640 * 639) / 2)
    // 64 leaves, then 8 groups.
    expect([...local.runner.tasksRun.values()].reduce((a, b) => a + b, 0)).toBe(64 + 8)
    expect(
      await local.emptyRDD<number>().treeAggregate(
        7,
        (a, b) => a + b,
        (a, b) => a + b,
      ),
    ).toBe(7)
    await expect(local.range(3).treeReduce((a, b) => a + b, 0)).rejects.toMatchObject({
      code: 'PLAN_INVALID',
    })
  })
})

test('reduceByKeyLocally gives what reduceByKey gives, keys by content', async () => {
  const keys = fc.constantFrom<unknown>('a', 1, Number.NaN, null, 0, -0)
  const pairs = fc.array(fc.tuple(keys, fc.constantFrom('x', 'y', 'z')), { maxLength: 25 })
  await fc.assert(
    fc.asyncProperty(pairs, fc.integer({ min: 1, max: 5 }), async (data, s) => {
      const rdd = mesh.parallelize(data, s)
      const local = await rdd.reduceByKeyLocally((a, b) => a + b)
      const expected = new Map<unknown, string>()
      for (const [key, value] of data) expected.set(key, (expected.get(key) ?? '') + value)
      expect(local).toEqual(expected)
    }),
    { numRuns: 30 },
  )
})

describe('histogram', () => {
  test('counts as a naive one does, the last bucket closed, NaN and outsiders left out', async () => {
    const values = fc.array(fc.oneof(fc.integer({ min: -9, max: 9 }), fc.constantFrom(Number.NaN, 0.5, -0)), {
      maxLength: 40,
    })
    const bounds = fc.uniqueArray(fc.integer({ min: -8, max: 8 }), { minLength: 2, maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(values, bounds, async (data, some) => {
        const sorted = some.toSorted((a, b) => a - b)
        const expected = sorted.slice(1).map((high, i) => {
          const isLast = i === sorted.length - 2
          return data.filter(n => n >= sorted[i]! && (n < high || (isLast && n === high))).length
        })
        expect(await mesh.parallelize(data, 3).histogram(sorted)).toEqual([sorted, expected])
      }),
      { numRuns: 40 },
    )
  })

  test('a number of buckets makes them even from the least to the greatest', async () => {
    expect(await mesh.range(51).histogram(2)).toEqual([
      [0, 25, 50],
      [25, 26],
    ])
    expect(await mesh.parallelize([3, 3, 3]).histogram(4)).toEqual([[3, 3], [3]])
    await expect(mesh.parallelize<number>([]).histogram(3)).rejects.toMatchObject({ code: 'EMPTY_RDD' })
    await expect(mesh.parallelize([1, Number.POSITIVE_INFINITY]).histogram(3)).rejects.toThrow(/infinite/)
    await expect(mesh.range(3).histogram([2, 1])).rejects.toThrow(/ascending/)
    await expect(mesh.range(3).histogram([1])).rejects.toThrow(/two or more/)
    await expect(mesh.range(3).histogram(0)).rejects.toThrow(/buckets/)
  })
})

test('any and all say what some and every say, and stop early', async () => {
  await fc.assert(
    fc.asyncProperty(numbers, partitionCounts, async (data, s) => {
      const rdd = mesh.parallelize(data, s)
      expect(await rdd.any(n => n > 5)).toBe(data.some(n => n > 5))
      expect(await rdd.all(n => n < 5)).toBe(data.every(n => n < 5))
      expect(await rdd.any()).toBe(data.some(Boolean))
      expect(await rdd.all()).toBe(data.every(Boolean))
    }),
    { numRuns: 25 },
  )
  const local = createLocal()
  expect(await local.range(0, 80, 1, 8).any(n => n === 3)).toBe(true)
  expect(local.runner.tasksRun.get('any')).toBe(1)
})

describe('distinct counts', () => {
  test('stay within a few deviations, from none to many', async () => {
    for (const count of [0, 1, 10, 100, 1_000, 50_000]) {
      const estimate = await mesh
        .range(0, 3 * count, 1, 4)
        .map(n => `key ${n % Math.max(1, count)}`)
        .countApproxDistinct(0.02)
      expect(Math.abs(estimate - count), `${count}`).toBeLessThanOrEqual(0.08 * count)
    }
  })

  test('the deviation is that asked for, over many sketches', () => {
    const precision = 8
    const errors = Array.from({ length: 200 }, (_, round) => {
      const sketch = newSketch(precision)
      for (let i = 0; i < 2_000; i++) addToSketch(sketch, precision, round * 10_000 + i)
      return estimateDistinct(sketch) / 2_000 - 1
    })
    const bias = errors.reduce((a, b) => a + b, 0) / errors.length
    const deviation = Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / errors.length)
    const theory = 1.04 / Math.sqrt(2 ** precision)
    expect(Math.abs(bias)).toBeLessThan((5 * theory) / Math.sqrt(errors.length))
    expect(deviation).toBeGreaterThan(theory * 0.75)
    expect(deviation).toBeLessThan(theory * 1.25)
  })

  test('go by content, as keys do', async () => {
    const same = [
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
      [-0, 0],
      [Number.NaN, -Number.NaN],
      [
        [1, [2]],
        [1, [2]],
      ],
      [new Date(3), new Date(3)],
    ]
    for (const [left, right] of same) expect(wideHash(left)).toEqual(wideHash(right))
    const different = [1, '1', 1n, true, null, undefined, [1], { a: 1 }, new Uint8Array([1]), 'a', ['a'], 1.5]
    expect(new Set(different.map(value => JSON.stringify(wideHash(value)))).size).toBe(different.length)
    expect(await mesh.parallelize(['a', 'b', 'a', { x: 1 }, { x: 1 }, null], 3).countApproxDistinct()).toBe(4)
  })

  test('of each key', async () => {
    const counts = await mesh
      .range(0, 6_000, 1, 3)
      .map(n => [n % 2 === 0 ? 'few' : 'many', n % 2 === 0 ? n % 20 : n])
      .countApproxDistinctByKey(0.03)
      .collectAsMap()
    expect(Math.abs(counts.get('few')! - 10)).toBeLessThanOrEqual(1)
    expect(Math.abs(counts.get('many')! - 3_000)).toBeLessThan(360)
    expect(() =>
      mesh
        .range(3)
        .keyBy(n => n)
        .countApproxDistinctByKey(0),
    ).toThrow(/deviation/)
    await expect(mesh.range(3).countApproxDistinct(0.0001)).rejects.toThrow(/at least 0.0021/)
  })
})

/** Partitions beyond the first few never come. */
function slow(partitionsInTime: number): ReturnType<typeof createDatasets> {
  const local = createLocal()
  const runner: JobRunner = {
    async *run(plan, options) {
      for await (const result of local.runner.run(plan, options)) {
        if (result.partition >= partitionsInTime) {
          await new Promise((_, reject) => {
            const stop = (): void => reject(options.signal!.reason as Error)
            if (options.signal!.aborted) stop()
            else options.signal!.addEventListener('abort', stop)
          })
        }
        yield result
      }
    },
    forget: () => {},
  }
  return createDatasets({ runner, files: local.files })
}

describe('approximations', () => {
  test('are exact when every partition comes in time', async () => {
    const rdd = mesh.range(0, 100, 1, 5)
    const exact = { low: 100, mean: 100, high: 100, isFinal: true }
    expect(await rdd.countApprox(60_000)).toMatchObject(exact)
    expect(await rdd.sumApprox(60_000)).toMatchObject({ mean: 4_950, isFinal: true })
    expect(await rdd.meanApprox(60_000)).toMatchObject({ mean: 49.5, isFinal: true })
    const counts = await rdd.map(n => n % 2).countByValueApprox(60_000)
    expect(counts.get(0)).toMatchObject({ mean: 50, isFinal: true })
    expect((await rdd.keyBy(n => n % 4).countByKeyApprox(60_000)).get(3)).toMatchObject({ mean: 25 })
  })

  test('extrapolate from what came, with bounds around the truth', async () => {
    const rdd = slow(6).range(0, 10_000, 1, 8)
    const count = await rdd.countApprox(300)
    expect(count.isFinal).toBe(false)
    expect(count.low).toBeLessThanOrEqual(10_000)
    expect(count.high).toBeGreaterThanOrEqual(10_000)
    expect(count.low).toBeGreaterThanOrEqual(7_500)
    const sum = await rdd.map(n => n % 10).sumApprox(300)
    expect(sum.isFinal).toBe(false)
    expect(sum.low).toBeLessThanOrEqual(45_000)
    expect(sum.high).toBeGreaterThanOrEqual(45_000)
    expect(sum.high - sum.low).toBeLessThan(9_000)
    const mean = await rdd.map(n => n % 10).meanApprox(300, 0.99)
    expect(mean.low).toBeLessThanOrEqual(4.5)
    expect(mean.high).toBeGreaterThanOrEqual(4.5)
    const counts = await rdd.map(n => n % 2 === 0).countByValueApprox(300)
    expect(counts.get(true)!.low).toBeLessThanOrEqual(5_000)
    expect(counts.get(true)!.high).toBeGreaterThanOrEqual(5_000)
  })

  test('of nothing seen in time say that they know nothing', async () => {
    const count = await slow(0).range(100).countApprox(50)
    expect(count).toEqual({
      mean: 0,
      low: 0,
      high: Number.POSITIVE_INFINITY,
      confidence: 0.95,
      isFinal: false,
    })
    const sum = await slow(0).range(100).sumApprox(50)
    expect([sum.low, sum.high]).toEqual([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY])
  })

  test('an error of the job and an abort of the caller are not taken for the end of the time', async () => {
    const failing = mesh.range(3).map(() => {
      throw new RangeError('broken')
    })
    await expect(failing.countApprox(60_000)).rejects.toThrow(/broken/)
    const abort = new AbortController()
    const counting = slow(1).range(100).countApprox(60_000, 0.95, { signal: abort.signal })
    abort.abort(new Error('enough'))
    await expect(counting).rejects.toThrow('enough')
    await expect(mesh.range(3).countApprox(-1)).rejects.toThrow(/milliseconds/)
    await expect(mesh.range(3).countApprox(1, 1)).rejects.toThrow(/confidence/)
  })

  test('bounds hold the truth about as often as they say', () => {
    let hits = 0
    const rounds = 400
    let state = 1
    const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
    for (let round = 0; round < rounds; round++) {
      const seen = Array.from({ length: 20 }, () => random() * 10)
      const mean = seen.reduce((a, b) => a + b, 0) / 20
      const sampleVariance = seen.reduce((sum, n) => sum + (n - mean) ** 2, 0) / 19
      const bounds = boundedMean(
        { count: 20, mean, sampleVariance },
        { partitions: 1, of: 2, confidence: 0.9 },
      )
      if (bounds.low <= 5 && 5 <= bounds.high) hits++
    }
    expect(hits / rounds).toBeGreaterThan(0.84)
    expect(hits / rounds).toBeLessThan(0.96)
  })

  test('quantiles are those of the tables', () => {
    expect(normalQuantile(0.975)).toBeCloseTo(1.959964, 5)
    expect(normalQuantile(0.01)).toBeCloseTo(-2.326348, 5)
    expect(normalQuantile(0.5)).toBeCloseTo(0, 9)
    // Student's, with 1, 2 and 9 degrees of freedom: 12.706, 4.303, 2.262.
    for (const [count, quantile] of [
      [2, 12.706],
      [3, 4.303],
      [10, 2.262],
    ] as const) {
      const bounds = boundedMean(
        { count, mean: 0, sampleVariance: count },
        { partitions: 1, of: 2, confidence: 0.95 },
      )
      expect(Math.abs(bounds.high / quantile - 1)).toBeLessThan(0.01)
    }
    const seen = { partitions: 1, of: 2, confidence: 0.95 }
    expect(boundedCount(0, seen).low).toBe(0)
    expect(boundedSum(5, { count: 1, mean: 5, sampleVariance: Number.NaN }, seen).high).toBe(
      Number.POSITIVE_INFINITY,
    )
  })
})
