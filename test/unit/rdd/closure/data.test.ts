import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { hasCode } from '../../../../src/base/index.ts'
import type { CapturedClosure, Node } from '../../../../src/rdd/closure/closure-graph.ts'
import { capture, encodeClosure, reviveClosure } from '../../../../src/rdd/closure/index.ts'

function roundTrip(value: unknown): unknown {
  return reviveClosure(encodeClosure(capture(() => value, { maxNodes: 100_000 })))()
}

const leaf = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('\ud800', 'a\udc00', '__proto__', 'constructor', '', 'ü', '日本'),
  fc.double(),
  fc.integer(),
  fc.constantFrom(-0, 0, Number.NaN, Infinity, -Infinity, Number.MAX_SAFE_INTEGER, Number.MIN_VALUE),
  fc.boolean(),
  fc.bigInt(),
  fc.constantFrom(undefined, null),
  fc.date({ noInvalidDate: false }),
  fc.constantFrom(Symbol.for('x'), Symbol.iterator, /a\n[/]/giu, new URL('http://a/b'), Math.max, Object(1)),
  fc.oneof(fc.int8Array(), fc.uint16Array(), fc.float32Array(), fc.float64Array(), fc.bigInt64Array()),
  fc.uint8Array().map(bytes => Buffer.from(bytes)),
  fc.uint8Array().map(bytes => new DataView(Uint8Array.from(bytes).buffer)),
  fc.uint8Array().map(bytes => Uint8Array.from(bytes).buffer),
)
const key = fc.oneof(fc.string(), fc.constantFrom('__proto__', 'kind', 'then', '0', 'toString'))

const { data } = fc.letrec<{ data: unknown }>(tie => ({
  data: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.array(tie('data')),
    fc.sparseArray(tie('data'), { maxNumElements: 5 }),
    fc.dictionary(key, tie('data')),
    fc.array(fc.tuple(leaf, tie('data'))).map(entries => new Map(entries)),
    fc.array(tie('data')).map(items => new Set(items)),
    tie('data').map(cause => new RangeError('bad', { cause })),
  ),
}))

test('plain data comes back deeply equal, whatever it holds', () => {
  fc.assert(
    fc.property(data, value => {
      if (!isDeepStrictEqual(roundTrip(value), value)) expect(roundTrip(value)).toStrictEqual(value)
      expect(isDeepStrictEqual(roundTrip(value), value)).toBe(true)
    }),
    { numRuns: 300 },
  )
})

test('equal captures give equal bytes', () => {
  fc.assert(
    fc.property(data, value => {
      const fn = (): unknown => value
      expect(encodeClosure(capture(fn))).toEqual(encodeClosure(capture(fn)))
    }),
    { numRuns: 50 },
  )
})

test('equal values give equal bytes however the engine holds them', () => {
  const bytes = [3, 1.5 + 1.5, new Float64Array([3])[0]].map(number => {
    const texts = ['abc', '日abc'.slice(1), Buffer.from('abc', 'utf16le').toString('utf16le')]
    return texts.map(text => Buffer.from(encodeClosure(capture(() => [number, text]))).toString('hex'))
  })
  expect(new Set(bytes.flat()).size).toBe(1)
})

test('one object reached twice stays one object, and cycles close', () => {
  const shared = { n: 1 }
  const ring: unknown[] = [shared]
  ring.push(ring, new Map<unknown, unknown>([[ring, new Set([shared])]]))
  const copy = roundTrip(ring) as [typeof shared, unknown, Map<unknown, Set<unknown>>]
  expect(copy[1]).toBe(copy)
  expect(copy[2].get(copy)?.has(copy[0])).toBe(true)
  expect(copy[0]).not.toBe(shared)
})

test('-0, holes and an invalid date stay what they are', () => {
  // oxlint-disable-next-line no-sparse-arrays -- the hole is the point
  const [negative, sparse, invalid] = roundTrip([-0, [1, , 3], new Date(Number.NaN)]) as [
    number,
    number[],
    Date,
  ]
  expect(Object.is(negative, -0)).toBe(true)
  expect(1 in sparse).toBe(false)
  expect(sparse).toHaveLength(3)
  expect(invalid.getTime()).toBeNaN()
})

test('a slice of a large buffer ships only its own bytes', () => {
  const slice = new Uint8Array(new ArrayBuffer(10_000_000), 5_000_000, 4).fill(7)
  const pooled = Buffer.from('abc')
  expect(roundTrip(slice)).toStrictEqual(slice)
  expect(roundTrip(pooled)).toStrictEqual(pooled)
  expect(Buffer.isBuffer(roundTrip(pooled))).toBe(true)
})

test('data that looks like a captured function stays data', () => {
  let ran = false
  Reflect.set(globalThis, '__ran', () => {
    ran = true
  })
  const real = capture(() => 1)
  const evil: Node = { ...(real.nodes[0] as Extract<Node, { kind: 'function' }>), source: '(__ran(),()=>1)' }
  const values = [
    evil,
    real,
    { kind: 'node', id: 0 },
    { kind: 'global', path: ['process', 'exit'] },
    { kind: 'builtin', module: 'child_process', path: ['execSync'] },
    { kind: 'hole' },
    [evil, { root: { kind: 'node', id: 0 }, nodes: [evil] }],
    JSON.parse('{"__proto__": {"kind": "function"}, "constructor": {"prototype": 1}}') as unknown,
  ]
  for (const value of values) {
    const copy = roundTrip(value)
    expect(isDeepStrictEqual(copy, value)).toBe(true)
    expect(typeof copy).toBe('object')
  }
  expect(ran).toBe(false)
  expect(Object.prototype).not.toHaveProperty('kind')
  Reflect.deleteProperty(globalThis, '__ran')
})

test('setters of a prototype are not called while an instance is rebuilt', () => {
  class Guarded {
    calls = 0
    set level(value: number) {
      this.calls += value
    }
  }
  const guarded = Object.defineProperty(new Guarded(), 'level', { value: 5, enumerable: true })
  expect(roundTrip(guarded)).toMatchObject({ calls: 0, level: 5 })
})

const helper = (x: number): number => x + 1
class Shape {
  static sides = 3
  area(): number {
    return helper(Shape.sides)
  }
}
const sample = encodeClosure(
  capture((s: Shape) => [new Shape().area(), s, [1, 'x', 2n, new Map([[1, /a/g]])]]),
)

function outcome(bytes: Uint8Array): 'revived' | 'BAD_MESSAGE' {
  try {
    expect(typeof reviveClosure(bytes)).toBe('function')
    return 'revived'
  } catch (error) {
    if (!hasCode(error, 'BAD_MESSAGE')) throw error
    return 'BAD_MESSAGE'
  }
}

test('every truncation of a closure is BAD_MESSAGE', () => {
  expect(outcome(sample)).toBe('revived')
  for (let length = 0; length < sample.length; length++) {
    expect(outcome(sample.subarray(0, length))).toBe('BAD_MESSAGE')
  }
  expect(outcome(Buffer.concat([sample, Buffer.from([0])]))).toBe('BAD_MESSAGE')
})

test('bytes changed anywhere revive or are BAD_MESSAGE, nothing else', () => {
  let refused = 0
  for (let at = 0; at < sample.length; at++) {
    for (const flip of [1, 0x80, 0xff]) {
      const bytes = Uint8Array.from(sample)
      bytes[at]! ^= flip
      if (outcome(bytes) === 'BAD_MESSAGE') refused++
    }
  }
  expect(refused).toBeGreaterThan(sample.length)
})

test('random bytes are BAD_MESSAGE', () => {
  fc.assert(
    fc.property(fc.uint8Array(), bytes => {
      expect(outcome(bytes)).toBe('BAD_MESSAGE')
      expect(outcome(Uint8Array.from([1, ...bytes]))).toBe('BAD_MESSAGE')
    }),
  )
})

test('graphs that capture would not make are BAD_MESSAGE', () => {
  const fn = capture(() => 1).nodes[0] as Extract<Node, { kind: 'function' }>
  const root = { kind: 'node', id: 0 } as const
  const proto = { kind: 'primitive', value: 1 } as const
  const captured = { name: 'x', value: root, assigned: false, early: true }
  const deep = Array.from({ length: 50_000 }, (_, id): Node => ({
    kind: 'array',
    items: [{ kind: 'node', id: (id + 1) % 50_000 }],
    properties: [],
  }))
  const graphs: Record<string, Pick<CapturedClosure, 'root' | 'nodes'>> = {
    'no function': { root: { kind: 'primitive', value: 1 }, nodes: [] },
    'a node that is not there': { root: { kind: 'node', id: 1 }, nodes: [fn] },
    'a text that is no function': { root, nodes: [{ ...fn, source: '1' }] },
    'a text that is no JavaScript': { root, nodes: [{ ...fn, source: '))' }] },
    'a variable that is no name': {
      root,
      nodes: [{ ...fn, captures: [{ ...captured, name: 'x=1,y', value: proto }] }],
    },
    'a variable that is a keyword': {
      root,
      nodes: [{ ...fn, captures: [{ ...captured, name: 'if', value: proto }] }],
    },
    'a function that needs itself first': {
      root,
      nodes: [
        { ...fn, captures: [{ ...captured, value: { kind: 'node', id: 1 } }] },
        { ...fn, captures: [captured] },
      ],
    },
    'a native by an unknown name': {
      root,
      nodes: [{ kind: 'native', constructor: 'Worker', args: [], properties: [] }],
    },
    'a native with bad arguments': {
      root,
      nodes: [{ ...fn, captures: [{ ...captured, value: { kind: 'node', id: 1 } }] }, { kind: 'native', constructor: 'RegExp', args: ['('], properties: [] }], // prettier-ignore
    },
    'a prototype that is a number': {
      root,
      nodes: [{ ...fn, captures: [{ ...captured, value: { kind: 'node', id: 1 } }] }, { kind: 'object', proto, properties: [] }], // prettier-ignore
    },
    'bytes of an unknown kind': {
      root,
      nodes: [{ kind: 'bytes', view: 'toString', bytes: new Uint8Array(1) }],
    },
    'bytes that do not fill their elements': {
      root,
      nodes: [{ ...fn, captures: [{ ...captured, value: { kind: 'node', id: 1 } }] }, { kind: 'bytes', view: 'Float64Array', bytes: new Uint8Array(3) }], // prettier-ignore
    },
    'a builtin that is not there': { root: { kind: 'builtin', module: 'nope', path: [] }, nodes: [] },
    'a global that is not there': { root: { kind: 'global', path: ['Math', 'nope'] }, nodes: [] },
    'a hole in the open': { root: { kind: 'hole' }, nodes: [] },
    'depth beyond the stack': { root, nodes: deep },
  }
  for (const [what, graph] of Object.entries(graphs)) {
    expect([what, outcome(encodeClosure(graph))]).toEqual([what, 'BAD_MESSAGE'])
  }
})

test('a graph that grows while it is rebuilt is one function all the same', () => {
  const table: Record<string, () => unknown> = {
    self: () => table,
    other: () => table['self']!() === table,
  }
  expect(reviveClosure(encodeClosure(capture(() => table['other']!())))()).toBe(true)
})
