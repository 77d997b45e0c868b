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
import { seededRandom, type Random } from '../../../../src/base/random.ts'

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

/** The same object wherever the same text stands: what is shared must not show. */
function withShared(rows: unknown[]): unknown[] {
  return rows.flatMap(row => [[row, row], { row, again: [row] }])
}

class Instance {
  get whole(): boolean {
    return true
  }
}

/** An equal value with another past: other objects, other representations inside the engine. */
function relived(value: unknown, random: Random): unknown {
  const again = (part: unknown): unknown => relived(part, random)
  if (typeof value === 'number') {
    // Out of a typed array comes a number of its own on the heap; its NaN may have any bits.
    const negative = new Float64Array(new BigUint64Array([0xfff8_0000_0000_0001n]).buffer)
    return Number.isNaN(value) ? negative[0] : new Float64Array([value])[0]
  }
  // A slice of a text that needs two bytes for each unit.
  if (typeof value === 'string') return `€${value}€`.slice(1, -1)
  if (typeof value === 'bigint') return -(-value)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    const list: unknown[] = random.next() < 0.5 ? [] : [0.5, 'tail']
    list.length = 0
    for (let i = value.length - 1; i >= 0; i--) if (i in value) list[i] = again(value[i])
    list.length = value.length
    return list
  }
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [again(key), again(item)]))
  if (value instanceof Set) return new Set([...value].map(again))
  if (value instanceof Date) return new Date(value.getTime())
  if (ArrayBuffer.isView(value)) return structuredClone(value)
  const record = (random.next() < 0.5 ? new Instance() : Object.create(null)) as object
  for (const [name, part] of Object.entries(value)) {
    Reflect.defineProperty(record, `${name} gone`, { value: 0, configurable: true })
    Reflect.defineProperty(record, name, {
      value: again(part),
      enumerable: true,
      writable: true,
      configurable: true,
    })
    Reflect.deleteProperty(record, `${name} gone`)
  }
  return record
}

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

  it('encodes equal rows to equal bytes, whatever became of them before', () => {
    fc.assert(
      fc.property(fc.oneof(shaped, shaped.map(withShared)), fc.integer(), (rows, seed) => {
        const bytes = encodeRows(rows)
        const again = encodeRows(relived(rows, seededRandom(seed)) as unknown[])
        expect(Buffer.compare(again, bytes)).toBe(0)
        expect(Buffer.compare(encodeRows(decodeRows(bytes)), bytes)).toBe(0)
      }),
      { numRuns: 600 },
    )
  })

  it('encodes a row with cycles alike, however its parts are shared', () => {
    const ring = (length: number): object => {
      const nodes = Array.from({ length }, (_, i) => ({ name: i, links: [] as object[], next: {} }))
      for (const [i, node] of nodes.entries()) {
        node.next = nodes[(i + 1) % length]!
        node.links = [...nodes]
      }
      return nodes[0]!
    }
    // A complete graph: written as a tree it would be of 9! parts.
    const graph = ring(9)
    const common = { tags: ['a', 'b'] }
    const rows = (first: object, second: object, third: object): unknown[] => [
      'mixed',
      [first, second, { common, again: common }],
      [third, { common: { tags: ['a', 'b'] }, again: { tags: ['a', 'b'] } }],
    ]
    const bytes = encodeRows(rows(graph, graph, graph))
    expect(Buffer.compare(encodeRows(rows(ring(9), ring(9), ring(9))), bytes)).toBe(0)
    expect(Buffer.compare(encodeRows(decodeRows(bytes)), bytes)).toBe(0)
    const [, [first, second]] = decodeRows(bytes) as [
      string,
      { name: number; links: object[]; next: object }[],
    ]
    // Not given to expect: it would compare the graphs.
    expect([first!.links[0] === first, first!.links[1] === first!.next, first === second]).toEqual([
      true,
      true,
      false,
    ])
    expect(second!.links.map(node => (node as typeof second)!.name)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('goes on after a row with a cycle as if it had not been there', () => {
    const loop: { kind: string; self?: unknown } = { kind: 'loop' }
    loop.self = loop
    const rows = [{ a: 1 }, loop, { a: 2 }, { kind: 'no loop', self: 3 }, 4, { a: loop }, { b: [{ a: 5 }] }]
    deepStrictEqual(decodeRows(encodeRows(rows)), rows)
  })

  it('keeps errors with type, message and cause, regular expressions, boxes, buffers and views', () => {
    class Odd extends TypeError {}
    const inner = new RangeError('inner')
    const rows: unknown[] = [
      new Error('with cause', { cause: [inner, 1] }),
      new Odd('of a class'),
      new SyntaxError(''),
      /a[b/]+\u2028/giu,
      Object(1n),
      Object('text'),
      Object(-0),
      new ArrayBuffer(3),
      new DataView(new ArrayBuffer(5)),
      Buffer.from('bytes'),
      new Float32Array([1.5, Number.NaN, -0]),
      new BigUint64Array([2n ** 64n - 1n]),
      new Uint8ClampedArray([300]),
      new Date(Number.NaN),
      -(10n ** 60n),
      { far: Object.assign([], { length: 2 ** 32 - 1, 4_000_000_000: 'far out' }) },
    ]
    const back = decodeRows<Error>(encodeRows(rows))
    expect(back[0]!.cause).toEqual([inner, 1])
    expect(back[1]!.constructor).toBe(TypeError)
    expect(back.slice(0, 3).map(({ message }) => message)).toEqual(['with cause', 'of a class', ''])
    expect(back[0]!.stack).toBe('Error: with cause')
    deepStrictEqual(back.slice(3), rows.slice(3))
    expect(Buffer.isBuffer(back[9])).toBe(true)
    expect(Buffer.compare(encodeRows(back), encodeRows(rows))).toBe(0)
  })

  it('refuses values nested deeper than the stack, saying so', () => {
    let deep: unknown = 'bottom'
    for (let i = 0; i < 1_000_000; i++) deep = [deep]
    let message = ''
    try {
      encodeRows(['mixed', deep])
    } catch (error) {
      message = hasCode(error, 'VALUE_REFUSED') ? error.message : 'another error'
    }
    expect(message).toMatch(/nested deeper than the stack/)
    let few: unknown = 'bottom'
    for (let i = 0; i < 500; i++) few = { in: [few] }
    let [, back] = decodeRows<unknown>(encodeRows(['mixed', few]))
    for (let i = 0; i < 500; i++) back = (back as { in: unknown[] }).in[0]
    expect(back).toBe('bottom')
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
