import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../../../src/base/random.ts'
import { drawPositions, poissonDraw } from '../../../../src/rdd/engine/random-draws.ts'
import { createLocal } from '../../../../src/rdd/local-runner.ts'

const mesh = createLocal()
const seeds = fc.integer()
const numbers = fc.array(fc.integer({ min: -5, max: 5 }), { maxLength: 40 })
const partitionCounts = fc.integer({ min: 1, max: 6 })

const byNumber = (a: number, b: number): number => a - b

/** Each element of `part` is in `whole` at least as often. */
function isWithin(part: readonly number[], whole: readonly number[]): boolean {
  const left = [...whole]
  return part.every(element => {
    const at = left.indexOf(element)
    if (at >= 0) left.splice(at, 1)
    return at >= 0
  })
}

describe('sample', () => {
  test('keeps order, draws nothing of 0 and all of 1, and is the same for the same seed', async () => {
    await fc.assert(
      fc.asyncProperty(numbers, partitionCounts, seeds, async (data, s, seed) => {
        const rdd = mesh.parallelize(data, s)
        expect(await rdd.sample(false, 0, seed).collect()).toEqual([])
        expect(await rdd.sample(false, 1, seed).collect()).toEqual(data)
        const indexed = rdd.zipWithIndex().sample(false, 0.5, seed)
        const drawn = await indexed.collect()
        expect(drawn.map(([, i]) => i)).toEqual(drawn.map(([, i]) => i).toSorted(byNumber))
        expect(drawn.every(([n, i]) => data[i] === n)).toBe(true)
        expect(await mesh.parallelize(data, s).zipWithIndex().sample(false, 0.5, seed).collect()).toEqual(
          drawn,
        )
      }),
      { numRuns: 30 },
    )
  })

  test('draws the fraction asked for, with and without replacement, also above 1', async () => {
    const n = 20_000
    const rdd = mesh.range(0, n, 1, 4)
    for (const fraction of [0.1, 0.7]) {
      const count = await rdd.sample(false, fraction, 7).count()
      // Within five deviations.
      expect(Math.abs(count - n * fraction)).toBeLessThan(5 * Math.sqrt(n * fraction * (1 - fraction)))
    }
    for (const mean of [0.3, 3]) {
      const count = await rdd.sample(true, mean, 7).count()
      expect(Math.abs(count - n * mean)).toBeLessThan(5 * Math.sqrt(n * mean))
    }
    expect(new Set(await rdd.sample(true, 3, 1).collect()).size).toBeGreaterThan(n * 0.94)
  })

  test('partitions and seeds draw differently', async () => {
    const drawn = await mesh
      .parallelize(
        Array.from({ length: 4 * 64 }, (_, i) => i % 64),
        4,
      )
      .sample(false, 0.5, 3)
      .glom()
      .collect()
    expect(new Set(drawn.map(part => part.join())).size).toBe(4)
    const rdd = mesh.range(200)
    expect(await rdd.sample(false, 0.5, 1).collect()).not.toEqual(await rdd.sample(false, 0.5, 2).collect())
    const unseeded = rdd.sample(false, 0.5)
    expect(await unseeded.collect(), 'one sample for all actions').toEqual(await unseeded.collect())
    expect(await rdd.sample(false, 0.5).collect()).not.toEqual(await rdd.sample(false, 0.5).collect())
  })

  test('keeps the partitioner, and refuses fractions that make no sense', async () => {
    const pairs = mesh
      .parallelize([
        ['a', 1],
        ['b', 2],
      ])
      .partitionBy(3)
    expect(await pairs.sample(false, 0.5).partitioner()).toEqual({ kind: 'hash', numPartitions: 3 })
    expect(() => mesh.range(3).sample(false, 1.5)).toThrow(/between 0 and 1/)
    expect(() => mesh.range(3).sample(true, -1)).toThrow(/0 or more/)
    expect(() => mesh.range(3).sample(false, Number.NaN)).toThrow(/fraction/)
    expect(() => mesh.range(3).sample(false, 0.5, Number.NaN)).toThrow(/seed/)
  })
})

describe('randomSplit', () => {
  test('gives each element to exactly one part, whatever the weights', async () => {
    const weights = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(
        numbers,
        partitionCounts,
        seeds,
        weights.filter(some => some.some(weight => weight > 0)),
        async (data, s, seed, some) => {
          const indexed = mesh.parallelize(data, s).zipWithIndex()
          const parts = await Promise.all(indexed.randomSplit(some, seed).map(part => part.collect()))
          expect(parts.length).toBe(some.length)
          expect(parts.flat().sort(([, a], [, b]) => a - b)).toEqual(data.map((n, i) => [n, i]))
          for (const [i, weight] of some.entries()) if (weight === 0) expect(parts[i]).toEqual([])
        },
      ),
      { numRuns: 30 },
    )
  })

  test('shares follow the weights', async () => {
    const counts = await Promise.all(
      mesh
        .range(10_000)
        .randomSplit([1, 3], 5)
        .map(part => part.count()),
    )
    expect(counts[0]! + counts[1]!).toBe(10_000)
    expect(Math.abs(counts[0]! - 2_500)).toBeLessThan(5 * Math.sqrt(10_000 * 0.25 * 0.75))
    expect(() => mesh.range(3).randomSplit([0, 0])).toThrow(/weights/)
    expect(() => mesh.range(3).randomSplit([1, -1])).toThrow(/weights/)
  })
})

describe('takeSample', () => {
  test('gives exactly as many as asked for, of what is there, and the same for the same seed', async () => {
    await fc.assert(
      fc.asyncProperty(numbers, partitionCounts, seeds, fc.nat(50), async (data, s, seed, num) => {
        const rdd = mesh.parallelize(data, s)
        const sample = await rdd.takeSample(false, num, seed)
        expect(sample.length).toBe(Math.min(num, data.length))
        expect(isWithin(sample, data)).toBe(true)
        expect(await rdd.takeSample(false, num, seed)).toEqual(sample)
        const repeated = await rdd.takeSample(true, num, seed)
        expect(repeated.length).toBe(data.length === 0 ? 0 : num)
        expect(repeated.every(element => data.includes(element))).toBe(true)
      }),
      { numRuns: 40 },
    )
  })

  test('every element comes equally often, in every place', async () => {
    const rdd = mesh.range(0, 6, 1, 3)
    const firsts = Array.from({ length: 6 }, () => 0)
    const members = Array.from({ length: 6 }, () => 0)
    const rounds = 600
    for (let seed = 0; seed < rounds; seed++) {
      const sample = await rdd.takeSample(false, 3, seed)
      firsts[sample[0]!]!++
      for (const n of sample) members[n]!++
    }
    // Means 100 and 300; five deviations are about 46 and 61.
    for (const count of firsts) expect(Math.abs(count - rounds / 6)).toBeLessThan(50)
    for (const count of members) expect(Math.abs(count - rounds / 2)).toBeLessThan(65)
  })

  test('reads only partitions that have some of the sample', async () => {
    const local = createLocal()
    const rdd = local.range(0, 800, 1, 8)
    await rdd.takeSample(false, 1, 1)
    expect(local.runner.tasksRun.get('range')).toBe(8 + 1)
  })
})

describe('sampleByKey', () => {
  const fractions = new Map<string, number>([
    ['a', 0.2],
    ['b', 0.9],
  ])
  const pairs = mesh.range(0, 10_000, 1, 4).map(n => [n % 2 === 0 ? 'a' : 'b', n])

  test('draws each key by its own fraction', async () => {
    for (const withReplacement of [false, true]) {
      const counts = await pairs.sampleByKey(withReplacement, fractions, 3).countByKey()
      expect(Math.abs(counts.get('a')! - 1_000)).toBeLessThan(5 * Math.sqrt(1_000))
      expect(Math.abs(counts.get('b')! - 4_500)).toBeLessThan(5 * Math.sqrt(4_500))
    }
    const asObject = pairs.sampleByKey(false, { a: 0.2, b: 0.9 }, 3)
    expect(await asObject.collect()).toEqual(await pairs.sampleByKey(false, fractions, 3).collect())
  })

  test('a key without a fraction is an error that names it', async () => {
    await expect(pairs.sampleByKey(false, { a: 0.5 }).count()).rejects.toThrow(/no fraction for the key 'b'/)
    await expect(pairs.sampleByKeyExact(false, { a: 0.5 }).count()).rejects.toThrow(
      /no fraction for the key 'b'/,
    )
  })

  test('sampleByKeyExact draws exactly the ceiling, of each key what is there', async () => {
    const keys = fc.array(fc.constantFrom('a', 'b'), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(keys, partitionCounts, seeds, fc.boolean(), async (data, s, seed, withReplacement) => {
        const rdd = mesh.parallelize(
          data.map((key, i) => [key, i]),
          s,
        )
        const sample = await rdd.sampleByKeyExact(withReplacement, { a: 0.35, b: 1 }, seed).collect()
        for (const [key, fraction] of [
          ['a', 0.35],
          ['b', 1],
        ] as const) {
          const drawn = sample.filter(pair => pair[0] === key)
          const count = data.filter(each => each === key).length
          expect(drawn.length).toBe(Math.ceil(count * fraction))
          if (!withReplacement) expect(new Set(drawn.map(([, i]) => i)).size).toBe(drawn.length)
          expect(drawn.every(([, i]) => data[i] === key)).toBe(true)
        }
      }),
      { numRuns: 40 },
    )
  })
})

describe('draws', () => {
  test('positions are distinct without replacement, uniform, and all there are when more are asked for', () => {
    const hits = Array.from({ length: 10 }, () => 0)
    const random = seededRandom(1)
    for (let i = 0; i < 3_000; i++) {
      const drawn = drawPositions(random, 4, 10, false)
      expect(drawn.size).toBe(4)
      for (const place of drawn.keys()) hits[place]!++
    }
    for (const count of hits) expect(Math.abs(count - 1_200)).toBeLessThan(5 * Math.sqrt(1_200))
    expect([...drawPositions(random, 9, 3, false).keys()].sort(byNumber)).toEqual([0, 1, 2])
    expect(drawPositions(random, 5, 0, true).size).toBe(0)
  })

  test('Poisson draws have the mean and the variance of their parameter, small and large', () => {
    for (const mean of [0.5, 4, 100, 2_000]) {
      const random = seededRandom(2)
      const draws = Array.from({ length: 4_000 }, () => poissonDraw(random, mean))
      const average = draws.reduce((a, b) => a + b, 0) / draws.length
      const variance = draws.reduce((sum, draw) => sum + (draw - average) ** 2, 0) / draws.length
      expect(Math.abs(average - mean)).toBeLessThan(5 * Math.sqrt(mean / draws.length))
      expect(variance / mean).toBeGreaterThan(0.85)
      expect(variance / mean).toBeLessThan(1.15)
    }
  })
})
