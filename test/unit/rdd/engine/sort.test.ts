import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareValues } from '../../../../src/rdd/engine/ordering.ts'
import { sortOrder, sortRows } from '../../../../src/rdd/engine/sort.ts'
import { ENGINE } from '../../../../src/rdd/engine/config.ts'

/** Array.prototype.sort is stable; the index keeps undefined from being moved by it. */
function naive(keys: readonly unknown[], ascending: boolean): number[] {
  const sign = ascending ? 1 : -1
  return keys.map((_, i) => i).sort((a, b) => sign * compareValues(keys[a], keys[b]))
}

/** Repeats keys until they are enough for radix sorting. */
function many(keys: readonly unknown[]): unknown[] {
  return Array.from({ length: ENGINE.radixKeysMin + 1 }, (_, i) => keys[(i * 7919) % keys.length])
}

const kinds: [string, fc.Arbitrary<unknown>][] = [
  [
    'numbers',
    fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -0, Number.NaN, Infinity, -Infinity, -5e-324)),
  ],
  [
    'strings',
    fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('', 'a', 'a\0', 'aa', '\ud800')),
  ],
  ['strings with a common prefix', fc.string({ maxLength: 9 }).map(end => `/a/common/prefix/${end}`)],
  [
    'Latin-1 strings',
    fc.string({ unit: fc.integer({ min: 0, max: 255 }).map(unit => String.fromCharCode(unit)) }),
  ],
  [
    'mixed keys',
    fc.oneof(fc.integer(), fc.string(), fc.constantFrom(null, undefined, true), fc.array(fc.integer())),
  ],
]

describe('sort', () => {
  for (const [name, key] of kinds) {
    it(`orders ${name} as a stable comparison sort does, both ways`, () => {
      fc.assert(
        fc.property(fc.array(key, { maxLength: 60 }), fc.boolean(), (keys, ascending) => {
          expect([...sortOrder(keys, ascending)]).toEqual(naive(keys, ascending))
        }),
      )
    })

    it(`orders many ${name} the same way`, () => {
      fc.assert(
        fc.property(fc.array(key, { minLength: 1, maxLength: 200 }), fc.boolean(), (keys, ascending) => {
          const all = many(keys)
          expect([...sortOrder(all, ascending)]).toEqual(naive(all, ascending))
        }),
        { numRuns: 4 },
      )
    })
  }

  it('moves rows with their keys', () => {
    const rows = ['c', 'a', 'b']
    expect(sortRows(rows, [3, 1, 2], true)).toEqual(['a', 'b', 'c'])
    expect(sortRows(rows, [3, 1, 2], false)).toEqual(['c', 'b', 'a'])
    expect(sortRows([], [], true)).toEqual([])
  })
})
