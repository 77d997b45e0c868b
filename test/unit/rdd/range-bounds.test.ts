import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bounds } from '../../../src/rdd/range-bounds.ts'

describe('range bounds', () => {
  test('cut evenly sampled keys into even runs', () => {
    const keys = Array.from({ length: 100 }, (_, i) => 99 - i)
    expect(bounds([{ count: 100, keys }], 4)).toEqual([24, 49, 74])
  })

  test('count a sampled key for as many elements as it stands for', () => {
    // The first input is ten times the second: most cuts fall into it.
    const samples = [
      { count: 1000, keys: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] },
      { count: 100, keys: [11, 12, 13, 14, 15, 16, 17, 18, 19, 20] },
    ]
    expect(bounds(samples, 4)).toEqual([3, 6, 9])
  })

  test('are ascending and distinct, and fewer than the partitions, for any sample', () => {
    const sample = fc
      .array(fc.oneof(fc.integer({ min: 0, max: 5 }), fc.string({ maxLength: 1 })), { maxLength: 20 })
      .map(keys => ({ count: keys.length * 3, keys }))
    fc.assert(
      fc.property(
        fc.array(sample, { maxLength: 4 }),
        fc.integer({ min: 1, max: 8 }),
        (samples, partitions) => {
          const cuts = bounds(samples, partitions)
          expect(cuts.length).toBeLessThan(partitions)
          expect(new Set(cuts).size).toBe(cuts.length)
          const numbers = cuts.filter(cut => typeof cut === 'number')
          expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
          const keys = samples.flatMap(sample => sample.keys)
          expect(cuts.every(cut => keys.includes(cut as string | number))).toBe(true)
        },
      ),
    )
  })

  test('of one key, however often, are at most that key', () => {
    expect(bounds([{ count: 50, keys: Array.from({ length: 50 }, () => 'x') }], 5)).toEqual(['x'])
    expect(bounds([], 5)).toEqual([])
  })
})
