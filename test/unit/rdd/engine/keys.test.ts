import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hasCode } from '../../../../src/base/errors.ts'
import { decodeRows, encodeRows } from '../../../../src/rdd/codec/index.ts'
import { bucketOf, hashKey } from '../../../../src/rdd/engine/hashing.ts'
import { keyEquals } from '../../../../src/rdd/engine/key-equality.ts'
import { compareValues } from '../../../../src/rdd/engine/ordering.ts'

const leaf = fc.oneof(
  fc.constantFrom(0, -0, 1, 2, -1, Number.NaN, Infinity, -Infinity, 0.5, 2 ** 31, 2 ** 40, '', '1', 'a', 'b'),
  fc.constantFrom(0n, 1n, 2n ** 60n, true, false, null, undefined, '\ud800', '__proto__'),
  fc.integer(),
  fc.double(),
  fc.string(),
  fc.date({ noInvalidDate: false }),
  fc.uint8Array({ maxLength: 2 }),
  fc.int8Array({ maxLength: 2 }),
)
const key: fc.Arbitrary<unknown> = fc.letrec(tie => ({
  value: fc.oneof(
    { depthSize: 'small' },
    leaf,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', '__proto__'), tie('value'), { noNullPrototype: true }),
    fc.array(fc.tuple(leaf, tie('value')), { maxLength: 2 }).map(entries => new Map(entries)),
    fc.array(leaf, { maxLength: 2 }).map(members => new Set(members)),
  ),
})).value
/** Two keys that are often equal without being the same. */
const pair = fc.oneof(
  fc.tuple(key, key),
  fc.tuple(leaf, leaf),
  key.map(value => [value, structuredClone(value)] as [unknown, unknown]),
)

describe('keys', () => {
  it('equal keys hash alike, and only equal keys compare as 0', () => {
    fc.assert(
      fc.property(pair, ([left, right]) => {
        const equal = keyEquals(left, right)
        expect(keyEquals(right, left)).toBe(equal)
        expect(compareValues(left, right) === 0).toBe(equal)
        if (equal) expect(hashKey(left)).toBe(hashKey(right))
      }),
      { numRuns: 3000 },
    )
  })

  it('a copy that travelled is the same key', () => {
    fc.assert(
      fc.property(key, value => {
        const [copy] = decodeRows(encodeRows([value]))
        expect(keyEquals(value, copy)).toBe(true)
        expect(hashKey(copy)).toBe(hashKey(value))
      }),
    )
  })

  it('are in a total order', () => {
    fc.assert(
      fc.property(key, key, key, (a, b, c) => {
        const sign = (left: unknown, right: unknown): number => Math.sign(compareValues(left, right))
        expect(sign(a, b) + sign(b, a)).toBe(0)
        if (sign(a, b) <= 0 && sign(b, c) <= 0) expect(sign(a, c)).toBeLessThanOrEqual(0)
      }),
      { numRuns: 3000 },
    )
  })

  it('distinguish types, join signed zeros and NaNs, and ignore the order of names', () => {
    const same: [unknown, unknown][] = [
      [0, -0],
      [Number.NaN, Number.NaN],
      [
        [1, [-0]],
        [1, [0]],
      ],
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
      [new Date(5), new Date(5)],
    ]
    const different: [unknown, unknown][] = [
      [1, '1'],
      [1, 1n],
      [1, true],
      [null, undefined],
      ['a', ['a']],
      [[1, 2], [1]],
      [{ a: 1 }, { a: 2 }],
      [new Uint8Array([1]), new Int8Array([1])],
      [{}, []],
    ]
    for (const [left, right] of same) {
      expect(keyEquals(left, right)).toBe(true)
      expect(hashKey(left)).toBe(hashKey(right))
    }
    for (const [left, right] of different) {
      expect(keyEquals(left, right)).toBe(false)
      expect(hashKey(left)).not.toBe(hashKey(right))
    }
  })

  it('sort numbers by value, strings by unit, NaN after numbers, null and undefined last', () => {
    const sorted = [
      false,
      true,
      -Infinity,
      -1,
      0,
      1,
      1n,
      1.5,
      2n,
      10,
      Infinity,
      Number.NaN,
      '',
      '10',
      '9',
      'a',
      'ä',
    ]
    const rest = [new Date(0), new Date(1), [], [1], [1, 2], [2], {}, { a: 1 }, { a: 2 }, null, undefined]
    const expected = [...sorted, ...rest]
    const shuffled = expected.toReversed()
    // Array.sort itself would put undefined last without asking.
    const boxed = shuffled.map(value => ({ value })).sort((a, b) => compareValues(a.value, b.value))
    expect(boxed.map(({ value }) => value)).toEqual(expected)
  })

  it('spread over partitions evenly, whatever they look like', () => {
    for (const make of [
      (i: number): unknown => i,
      (i: number): unknown => i * 64,
      (i: number): unknown => i / 7,
      (i: number): unknown => `key${i}`,
      (i: number): unknown => [i, 'x'],
    ]) {
      for (const partitions of [7, 64]) {
        const sizes = new Int32Array(partitions)
        const total = 64_000
        for (let i = 0; i < total; i++) sizes[bucketOf(hashKey(make(i)), partitions)]!++
        expect(Math.max(...sizes) / (total / partitions)).toBeLessThan(1.15)
        expect(Math.min(...sizes) / (total / partitions)).toBeGreaterThan(0.85)
      }
    }
  })

  it('refuse what has no content, and what never ends', () => {
    const cyclic: unknown[] = []
    cyclic.push(cyclic)
    const other: unknown[] = []
    other.push(other)
    for (const value of [() => 1, Symbol('s'), Promise.resolve(1), /x/, new Error('e'), cyclic]) {
      for (const use of [
        () => hashKey(value),
        () => compareValues(value, other),
        () => keyEquals(value, other),
      ]) {
        // A function or symbol is unequal to anything but itself; only containers are looked into.
        try {
          use()
        } catch (error) {
          expect(hasCode(error, 'VALUE_REFUSED')).toBe(true)
        }
      }
      expect(() => hashKey(value)).toThrow(/cannot be a key/)
    }
  })
})
