import { deepStrictEqual } from 'node:assert'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  countRows,
  decodeBatches,
  decodePairBatches,
  decodeRows,
  encodeRows,
  PairEncoder,
  RowEncoder,
} from '../../../../src/rdd/codec/index.ts'
import { hasCode } from '../../../../src/base/errors.ts'

/** Anything structured clone keeps, in rows of every shape the columns know and do not know. */
const leaf = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(-0, Number.NaN, Infinity, -Infinity, 2 ** 31, -(2 ** 31), 2 ** 53),
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.constantFrom('', '\ud800', '\udc00x', 'ä', '€', 'a'.repeat(300), '__proto__'),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  fc.bigInt(),
  fc.date({ noInvalidDate: false }),
  fc.uint8Array({ maxLength: 9 }),
  fc.float64Array({ maxLength: 5 }),
)
const name = fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'length', '0', 'ü', '\u2028'))
const tree: fc.Arbitrary<unknown> = fc.letrec(tie => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.tuple(tie('value'), tie('value')),
    fc.dictionary(name, tie('value'), { maxKeys: 4, noNullPrototype: true }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 3 }).map(entries => new Map(entries)),
    fc.array(tie('value'), { maxLength: 3 }).map(members => new Set(members)),
  ),
})).value

const shaped: fc.Arbitrary<unknown[]> = fc.oneof(
  fc.array(tree, { maxLength: 40 }),
  fc.array(leaf, { maxLength: 40 }),
  fc.array(fc.string({ unit: 'binary' }), { maxLength: 60 }),
  fc.array(fc.double(), { maxLength: 60 }),
  fc.array(fc.integer(), { maxLength: 60 }),
  fc.array(fc.boolean(), { maxLength: 60 }),
  fc.array(fc.tuple(fc.string(), fc.integer()), { maxLength: 60 }),
  fc.array(fc.tuple(fc.string(), fc.array(fc.double())), { maxLength: 30 }),
  fc.array(fc.tuple(fc.integer(), fc.tuple(fc.array(fc.string()), fc.array(tree, { maxLength: 3 }))), {
    maxLength: 20,
  }),
  fc.array(
    fc.record(
      { id: fc.integer(), name: fc.string(), price: fc.double(), tags: fc.array(fc.string()) },
      { noNullPrototype: true },
    ),
    {
      maxLength: 30,
    },
  ),
  fc
    .tuple(fc.uniqueArray(name, { maxLength: 4 }), fc.integer({ min: 0, max: 20 }), leaf)
    .map(([names, count, value]) =>
      Array.from({ length: count }, () => Object.fromEntries(names.map(each => [each, value]))),
    ),
)

describe('row codec', () => {
  it('gives back every kind of value in every shape of row', () => {
    fc.assert(
      fc.property(shaped, rows => {
        const bytes = encodeRows(rows)
        deepStrictEqual(decodeRows(bytes), rows)
        expect(countRows(bytes)).toBe(rows.length)
        expect(bytes.length % 8).toBe(0)
      }),
      { numRuns: 600 },
    )
  })

  it('encodes equal rows to equal bytes', () => {
    fc.assert(
      fc.property(shaped, rows => {
        deepStrictEqual(encodeRows(structuredClone(rows)), encodeRows(structuredClone(rows)))
      }),
      { numRuns: 100 },
    )
  })

  it('decodes from any offset of a larger buffer, and batch after batch', () => {
    fc.assert(
      fc.property(shaped, shaped, fc.integer({ min: 0, max: 9 }), (left, right, offset) => {
        const a = encodeRows(left)
        const b = encodeRows(right)
        const whole = new Uint8Array(offset + a.length + b.length)
        whole.set(a, offset)
        whole.set(b, offset + a.length)
        deepStrictEqual(decodeRows(whole.subarray(offset)), [...left, ...right])
      }),
      { numRuns: 100 },
    )
  })

  it('decodes from shared memory', () => {
    const rows = Array.from({ length: 100 }, (_, i) => [`key ${i}`, { n: i, when: new Date(i) }])
    const bytes = encodeRows(rows)
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length))
    shared.set(bytes)
    deepStrictEqual(decodeRows(shared), rows)
  })

  it('closes a batch at 8192 rows and at about 1 MiB', () => {
    const numbers = [...decodeBatches(encodeRows(Array.from({ length: 20_000 }, (_, i) => i)))]
    expect(numbers.map(batch => batch.length)).toEqual([8192, 8192, 3616])
    const large = Array.from({ length: 64 }, (_, i) => String(i).repeat(100_000))
    const batches = [...decodeBatches(encodeRows(large))]
    expect(batches.length).toBeGreaterThan(1)
    deepStrictEqual(
      batches.flatMap(batch => Array.from(batch)),
      large,
    )
  })

  it('keeps cycles, holes and what refers to itself', () => {
    const cyclic: { name: string; self?: unknown; list: unknown[] } = { name: 'loop', list: [] }
    cyclic.self = cyclic
    cyclic.list.push(cyclic)
    const [back] = decodeRows<typeof cyclic>(encodeRows([cyclic]))
    expect(back!.self).toBe(back)
    expect(back!.list[0]).toBe(back)
    const holes = [4, 7].map(first => Object.assign(Array.from({ length: 0 }), { 0: first, 2: undefined }))
    deepStrictEqual(decodeRows(encodeRows(holes)), holes)
    const viaMap: { map: Map<string, unknown> } = { map: new Map() }
    viaMap.map.set('back', viaMap)
    const [mapped] = decodeRows<typeof viaMap>(encodeRows([viaMap]))
    expect(mapped!.map.get('back')).toBe(mapped)
  })

  it('turns instances of classes into plain objects, as structured clone does', () => {
    class Point {
      x = 1
      y = 2
      get sum(): number {
        return this.x + this.y
      }
    }
    deepStrictEqual(decodeRows(encodeRows([new Point()])), [{ x: 1, y: 2 }])
  })

  it('names own properties called __proto__ without touching the prototype', () => {
    const row: unknown = JSON.parse('{"__proto__":{"polluted":true},"a":1}')
    for (const rows of [[row], [row, 'mixed']]) {
      const [back] = decodeRows<object>(encodeRows(rows))
      expect(Object.getPrototypeOf(back)).toBe(Object.prototype)
      expect(Object.keys(back!)).toEqual(['__proto__', 'a'])
    }
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })

  it('never lets a decoded typed array reach into the bytes it came from', () => {
    const bytes = encodeRows([new Uint8Array([1, 2, 3]), 'x'])
    const before = bytes.slice()
    const [view] = decodeRows<Uint8Array>(bytes)
    view!.fill(255)
    deepStrictEqual(bytes, before)
  })

  it('refuses functions, symbols and promises, naming where they are', () => {
    const cases: [unknown, RegExp][] = [
      [{ a: 1, run: function go() {} }, /an element's run is the function "go"/],
      [['k', [{ deep: Symbol('s') }]], /an element's \[1\]\[0\]\.deep is a symbol/],
      [Promise.resolve(1), /an element is a value of type Promise.*async/],
      [() => 1, /an element is the function "anonymous"/],
    ]
    for (const [row, message] of cases) {
      expect(() => encodeRows([row])).toThrow(message)
      try {
        encodeRows(['fine', row])
      } catch (error) {
        expect(hasCode(error, 'VALUE_REFUSED')).toBe(true)
      }
    }
  })

  it('splits pairs into their columns, whatever shape the batch has', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(tree, tree), { maxLength: 30 }), pairs => {
        const encoder = new PairEncoder()
        for (const [key, value] of pairs) encoder.append(key, value)
        const asPairs = encoder.finish()
        for (const bytes of [...asPairs, encodeRows(pairs)]) {
          const back: unknown[] = []
          for (const batch of decodePairBatches(bytes)) {
            for (let i = 0; i < batch.count; i++) back.push([batch.keys[i], batch.values[i]])
          }
          deepStrictEqual(back, pairs)
        }
        deepStrictEqual(
          asPairs.flatMap(bytes => decodeRows(bytes)),
          pairs,
        )
      }),
      { numRuns: 200 },
    )
  })

  it('refuses any damaged bytes with BAD_MESSAGE, or reads other rows, but never crashes', () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 4,
    })
    fc.assert(
      fc.property(shaped, flips, fc.nat(), (rows, changes, cut) => {
        const bytes = encodeRows(rows).slice()
        if (bytes.length === 0) return
        for (const [at, value] of changes) bytes[at % bytes.length] = value
        for (const damaged of [bytes, bytes.subarray(0, cut % bytes.length)]) {
          try {
            decodeRows(damaged)
            for (const _batch of decodePairBatches(damaged));
          } catch (error) {
            if (!hasCode(error, 'BAD_MESSAGE')) throw error
          }
        }
      }),
      { numRuns: 1000 },
    )
  })

  it('refuses a batch that claims more rows than a batch may hold', () => {
    const bytes = encodeRows([null])
    new DataView(bytes.buffer).setUint32(8, 0xffff_ffff, true)
    expect(() => decodeRows(bytes)).toThrow(/a batch of 4294967295 rows/)
  })

  it('counts what it holds and is empty after finish', () => {
    const encoder = new RowEncoder()
    encoder.appendAll(['some', 'text'])
    expect(encoder.heldBytes).toBeGreaterThan(0)
    expect(encoder.rows).toBe(2)
    expect(decodeRows(encoder.finish())).toEqual(['some', 'text'])
    expect(encoder.heldBytes).toBe(0)
    expect(encoder.finish().length).toBe(0)
  })
})
