import { createHash } from 'node:crypto'
import { once } from 'node:events'
import * as fs from 'node:fs'
import path from 'node:path'
import repl from 'node:repl'
import { PassThrough } from 'node:stream'
import vm from 'node:vm'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import type * as closures from '../../../../src/rdd/closure/index.ts'
import { capture, encodeClosure, functionLocation, reviveClosure } from '../../../../src/rdd/closure/index.ts'
import * as library from './fixtures/library.ts'
import plusRate, { RATE, tax, useHidden } from './fixtures/library.ts'
import legacyModule from './fixtures/legacy.cjs'
import { RemotePeer } from './fixtures/in-worker.ts'

const remote = new RemotePeer()
afterAll(() => remote[Symbol.asyncDispose]())

const factor = 3
const list = [1, 2, 3]
const floats = new Float64Array([1, 2])
const table = new Map([['a', { z: 1 }]])
const members = new Set([1, 2])
const epoch = new Date(0)
const pattern = /a(.)/g
const big = 10n ** 30n
const symbol = Symbol.for('q')
const cyclic: { n: number; self?: unknown } = { n: 1 }
cyclic.self = cyclic

class Point {
  static readonly unit = new Point(1)
  static made = 0
  static of = (x: number): Point => new Point(x)
  x: number
  constructor(x: number) {
    this.x = x
    Point.made++
  }
  double(): number {
    return this.x * factor
  }
  static scale(x: number): number {
    return x + factor
  }
}
class Point3 extends Point {
  override double(): number {
    return super.double() + 1
  }
}
class Base {
  static make(): Derived {
    return new Derived()
  }
  name(): string {
    return 'base'
  }
}
class Derived extends Base {
  override name(): string {
    return `derived ${super.name()}`
  }
}
class Secret {
  #secret = 5
  read(): number {
    return this.#secret
  }
  static make(): Secret {
    return new Secret()
  }
}
class Temperature extends Error {
  degrees: number
  constructor(degrees: number) {
    super(`${degrees} degrees`)
    this.degrees = degrees
  }
}
class Inventory extends Map<string, number> {
  total(): number {
    return [...this.values()].reduce((a, b) => a + b, 0)
  }
}
const point = new Point3(7)
const temperature = new Temperature(40)
const inventory = new Inventory([['nut', 2]]).set('bolt', 3)

function Legacy(this: { x: number }, x: number): void {
  this.x = x
}
Legacy.prototype.triple = function (this: { x: number }) {
  return this.x * factor
}
const legacy = Reflect.construct(Legacy, [5]) as { triple(): number }
const prototypal = Object.create({ shout: (s: string) => `${s}!` }) as { shout(s: string): string }

function factorial(n: number): number {
  return n < 2 ? 1 : n * factorial(n - 1)
}
const fib = (n: number): number => (n < 2 ? n : fib(n - 1) + fib(n - 2))
const even = (n: number): boolean => (n === 0 ? true : odd(n - 1))
const odd = (n: number): boolean => (n === 0 ? false : even(n - 1))
const registry: Record<string, (n: number) => number> = {
  half: n => Math.floor(n / 2),
  until: n => (n < 2 ? 0 : 1 + registry['until']!(registry['half']!(n))),
}
function memo(n: number): number {
  return (memo.cache[n] ??= n * n)
}
memo.cache = { 4: 99 } as Record<number, number>

const object = {
  method(x: number) {
    return x * factor
  },
  async later(x: number) {
    return x + factor
  },
  [`computed${factor}`](x: number) {
    return x - factor
  },
  get live() {
    return list.length
  },
  'odd name'(x: number) {
    return -x
  },
}
const perIteration: ((x: number) => number)[] = []
for (let i = 0; i < 3; i++) perIteration.push(x => x + i)

const decoder = new TextDecoder('latin1')
const collator = new Intl.Collator('de', { numeric: true })
const money = new Intl.NumberFormat('en', { minimumFractionDigits: 2 })
const plurals = new Intl.PluralRules('en', { type: 'ordinal' })
const link = new URL('http://example.org/a?b=c')
const nothing = undefined
const { max } = Math
const log = console.log
const adder = (a: number, b: number): number => a * factor + b
const shadowed = (() => {
  const Math = { max: () => 42 }
  return () => Math.max()
})()
const $c = 'dollar'

function methodOf(holder: object, name: string): Function {
  return Reflect.get(holder, name) as Function
}

type Case = [claim: string, fn: Function, args: unknown[]]

const cases: Case[] = [
  ['const captures', (x: number) => x * factor, [2]],
  [
    'arrays, typed arrays, Map, Set, Date',
    () => [list[2], floats[1], table.get('a')?.z, members.has(2), epoch.getTime()],
    [],
  ],
  ['RegExp with its flags', (s: string) => s.replace(pattern, (_, c) => c + factor), ['abac']],
  ['BigInt and registered symbols', () => [big, String(symbol), Symbol.keyFor(symbol)], []],
  ['cyclic values', () => (cyclic.self as typeof cyclic).n, []],
  ['undefined', () => nothing, []],
  ['instances with inheritance', () => point.double(), []],
  ['instances keep their class', () => [point instanceof Point3, point instanceof Point, 'x' in point], []],
  ['classes made anew', (x: number) => new Point3(x).double(), [1]],
  ['static fields with the value they have now', () => [Point.unit.x, Point.made], []],
  ['static function fields', () => Point.of(4).double(), []],
  ['static methods', methodOf(Point, 'scale'), [2]],
  ['classes that name each other, superclass last', () => Base.make().name(), []],
  ['classes that name each other, superclass first', () => new Derived().name(), []],
  ['a class with #private members', () => Secret.make().read(), []],
  [
    'errors of an own class',
    () => [temperature.message, temperature.degrees, temperature instanceof Temperature],
    [],
  ],
  ['instances of a subclass of Map', () => [inventory.total(), inventory instanceof Inventory], []],
  ['constructor functions with prototype methods', () => legacy.triple(), []],
  ['objects with a prototype of their own', () => prototypal.shout('hi'), []],
  ['a prototype object', () => Point.prototype.double.call({ x: 2 } as Point), []],
  ['recursion by declaration', (x: number) => factorial(x), [5]],
  ['recursion by const', (x: number) => fib(x), [10]],
  ['mutual recursion', (x: number) => even(x), [10]],
  ['functions in an object that they capture', (x: number) => registry['until']!(x), [20]],
  ['properties of functions', (x: number) => memo(x), [4]],
  ['generators', (x: number) => [...(function* () { yield x; yield factor })()], [1]], // prettier-ignore
  ['async functions', async (x: number) => { await Promise.resolve(); return x * factor }, [2]], // prettier-ignore
  ['object methods', methodOf(object, 'method'), [2]],
  ['async methods', methodOf(object, 'later'), [2]],
  ['computed methods', methodOf(object, 'computed3'), [2]],
  ['functions of CommonJS modules', methodOf(legacyModule, 'times'), [2]],
  ['methods with a quoted name', object['odd name'], [2]],
  ['getters, read at capture', () => object.live, []],
  ['variables of a loop, per iteration', perIteration[1]!, [10]],
  [
    'destructuring and defaults',
    ({ a = factor, ...rest }: { a?: number; b: number }, [q] = [list[0]]) => [a, rest, q],
    [{ b: 1 }],
  ],
  ['template literals', (s: string) => `${factor}${s}`, ['x']],
  ['named imports, by value and recursively', (x: number) => tax(x), [100]],
  ['imported constants', () => RATE, []],
  ['default imports', (x: number) => plusRate(x), [1]],
  ['namespace imports, only the members used', (x: number) => library.tax(x), [10]],
  ['node: named imports', (x: string) => createHash('md5').update(x).digest('hex'), ['a']],
  ['node: default imports', (x: string) => path.basename(x), ['/a/b']],
  ['node: namespace imports', () => typeof fs.readFileSync, []],
  ['native functions by name', max, [1, 2]],
  ['captured native functions', () => max(1, 2), []],
  ['functions of console', () => typeof log, []],
  ['bound functions', adder.bind(null, 10), [1]],
  ['a variable that hides a global', shadowed, []],
  ['standard globals', () => [typeof console.log, typeof structuredClone, typeof process.pid], []],
  ['a name only asked for by typeof', vm.runInThisContext('() => typeof nope'), []],
  ['TextDecoder', () => decoder.decode(new Uint8Array([228])), []],
  ['Intl', () => [['a10', 'a9'].sort(collator.compare), money.format(1), plurals.select(2)], []],
  ['URL', () => [link.searchParams.get('b'), link.href], []],
  ['variables called like the wrapping of rebuilt functions', () => $c, []],
  ['functions of a vm context', vm.runInNewContext('const k2 = 5; var t = new Map([[1, [2]]]); x => x * k2 + t.get(1)[0]'), [2]], // prettier-ignore
  ['dynamic import of node:', async () => typeof (await import('node:os')).cpus, []],
  ['new.target and arguments of its own', function (this: unknown) { return [arguments.length, new.target === undefined] }, [1]], // prettier-ignore
]

test.each(cases)('ships %s', async (_, fn, args) => {
  const copy = reviveClosure(encodeClosure(capture(fn)))
  const there = await remote.call(fn, ...args)
  const here: unknown = await fn(...args)
  expect(await copy(...args)).toEqual(here)
  expect(there).toEqual(here)
})

test('ships hidden module state as a snapshot', async () => {
  const next = (): number => useHidden()
  expect(await remote.call(next)).toBe(10)
  expect(next()).toBe(10)
  expect(await remote.call(next)).toBe(11)
  expect(next()).toBe(11)
})

test('of a namespace only the members used are captured: an unshippable neighbour does no harm', async () => {
  expect(await remote.call((x: number) => library.tax(x) + library.RATE, 10)).toBe(2.2)
  expect(() => capture(() => Object.keys(library))).toThrow(/library\.heavy": it is a WeakMap/)
})

test('an assigned capture works on a copy and warns', async () => {
  let n = 0
  const count = (x: number): number => {
    n += x
    return n
  }
  const captured = capture(count)
  expect(captured.warnings).toHaveLength(1)
  expect(captured.warnings[0]).toMatch(
    /ships\.test\.ts:\d+: assigning n changes a copy.*reduce\(\) or an accumulator/,
  )
  const copy = reviveClosure(encodeClosure(captured))
  expect([copy(2), copy(2)]).toEqual([2, 4])
  expect(n).toBe(0)
})

test('destructuring assignment and for-of heads count as assignment', () => {
  let [a, b, c] = [0, 0, 0]
  const fn = (): number => {
    ;({
      a,
      x: [b = a],
    } = { a: 1, x: [] as number[] })
    for (c of [7]);
    return a + b + c
  }
  expect(capture(fn).warnings.map(w => /assigning (\w)/.exec(w)?.[1])).toEqual(['a', 'b', 'c'])
  expect(reviveClosure(encodeClosure(capture(fn)))()).toBe(9)
})

test('a property named like a large variable does not capture it', () => {
  const large = new Float64Array(1e6)
  expect(large).toHaveLength(1e6)
  expect(capture((x: { large: number }) => x.large).nodes).toHaveLength(1)
})

test('captures nothing that a name inside the function hides', () => {
  const fn = (rows: number[]): unknown => {
    const list = rows
    for (const factor of list) {
      try {
        if (factor > 1) throw factor
      } catch (table) {
        return { table, even: (odd: number) => odd }
      }
    }
    switch (rows.length) {
      case 0:
        const members = 1
        return members
    }
    label: for (;;) break label
    return function tax(): unknown {
      return tax
    }
  }
  expect(capture(fn).nodes).toHaveLength(1)
})

test('a class is one class in its graph: instances, statics and prototype share it', () => {
  const fn = (): boolean[] => [
    point.constructor === Point3,
    Object.getPrototypeOf(Point3) === Point,
    Point.unit.constructor === Point,
    new Point3(1) instanceof Point,
  ]
  expect(reviveClosure(encodeClosure(capture(fn)))()).toEqual([true, true, true, true])
})

test('a superclass that is a member of a captured object is there before the class', () => {
  const shapes = { version: 1, Shape: Point }
  class Square extends shapes.Shape {
    override double(): number {
      return super.double() + shapes.version
    }
  }
  expect(reviveClosure(encodeClosure(capture((x: number) => new Square(x).double())))(2)).toBe(7)
})

test('a superclass that nothing but its subclass names is found all the same', () => {
  const makeBase = (n: number): new () => { n: number } =>
    class {
      n = n
    }
  class Parent {
    hello(): string {
      return 'hello'
    }
  }
  class Child extends Parent {}
  class Mixed extends makeBase(5) {
    twice = this.n * 2
  }
  class Null extends (null as unknown as ObjectConstructor) {
    static answer(): number {
      return 42
    }
  }
  const fn = (): unknown[] => [new Child().hello(), new Mixed().twice, Null.answer()]
  expect(reviveClosure(encodeClosure(capture(fn)))()).toEqual(['hello', 10, 42])
})

test('cycles of functions, classes and bound functions are cut wherever the capture begins', () => {
  class Root {
    static make(kind: number): Root {
      return kind === 0 ? new Left() : kind === 1 ? new Right() : new Root()
    }
    again(): Root {
      return clone(this)
    }
  }
  class Left extends Root {}
  class Right extends Left {
    kind = tags.right
  }
  const tags = { right: 'r', make: methodOf(Root, 'make'), countdown: (n: number): number => down(n) }
  const countdown = (n: number): number => (n > 0 ? down(n - 1) : 0)
  const down = countdown.bind(null)
  const rootPrototype = Root.prototype
  const clone = (root: Root): Root => Object.assign(Object.create(rootPrototype) as Root, root)
  const starts = [
    () => [Root.make(0).again() instanceof Root, Root.make(1), down(3), tags.countdown(2)],
    () => [new Right() instanceof Root, tags.make.call(null, 1), new Left().again(), countdown(3)],
    () => [new Left(), new Right().again(), Root.make(2), Root.make(1) instanceof Left],
    () => [clone(new Root()), down(1), tags.make.call(null, 0), new Right().kind],
  ]
  for (const start of starts) {
    const copy: unknown = reviveClosure(encodeClosure(capture(start)))()
    expect(copy).toEqual(start())
    expect(JSON.stringify(copy)).toBe(JSON.stringify(start()))
  }
})

test('a computed key that is a member of a captured object is there before the class', () => {
  const keys = { read: 'read', other: (): unknown => Keyed }
  class Keyed {
    [keys.read](): string {
      return keys.read
    }
  }
  const fn = (): unknown => [Reflect.get(new Keyed(), 'read').call(null), keys.other() === Keyed]
  expect(reviveClosure(encodeClosure(capture(fn)))()).toEqual(['read', true])
})

test('module namespaces behind the interop proxies of a module runner ship by the members used', () => {
  const source =
    '(x, proxied) => { const __vi_import_0__ = proxied; return y => (0, __vi_import_0__.tax)(y * x) }'
  const fn = (vm.runInThisContext(source) as Function)(10, new Proxy(library, {})) as Function
  expect(reviveClosure(encodeClosure(capture(fn)))(10)).toBe(20)
})

test('errors of another realm keep their kind', () => {
  const error: unknown = vm.runInNewContext('new RangeError("far", { cause: [1] })')
  const copy = reviveClosure(encodeClosure(capture(() => error)))() as RangeError
  expect(copy).toBeInstanceOf(RangeError)
  expect([copy.message, copy.cause, Object.keys(copy)]).toEqual(['far', [1], []])
})

test('static initialisers and static blocks do not run again on the executing peer', () => {
  const seen: string[] = []
  class Loud {
    static value = seen.push('field')
    static {
      seen.push('block')
    }
    value = 1
  }
  const copy = reviveClosure(encodeClosure(capture(() => [Loud.value, new Loud().value, seen.length])))
  expect(copy()).toEqual([1, 1, 2])
})

test('rebuilt functions keep their names', () => {
  const inner = (): number => 1
  const names = (): string[] => [inner.name, object.method.name, Point.name, fib.name]
  expect(reviveClosure(encodeClosure(capture(names)))()).toEqual(['inner', 'method', 'Point', 'fib'])
})

test('a REPL-like context: its globals are captured by value, the language by name', () => {
  const context = vm.createContext({})
  vm.runInContext(
    'var rates = { a: [1, 2] }; const more = [3]; function helper(x) { return x + more[0] }',
    context,
  )
  const fn = vm.runInContext('x => helper(x) + rates.a.map(y => y * Math.max(1, 2)).length', context, {
    filename: 'REPL1',
  }) as Function
  const captured = capture(fn)
  expect(reviveClosure(encodeClosure(captured))(1)).toBe(6)
  expect(captured.nodes[0]).toMatchObject({ kind: 'function', location: { file: 'REPL1', line: 1 } })
})

test('what is typed into a REPL ships: const, let, var, function, class, await, import, after a failed line', async () => {
  const input = new PassThrough()
  const output = new PassThrough({ encoding: 'utf8' })
  const server = repl.start({ input, output, prompt: '<ready>' })
  onTestFinished(() => server.close())
  const shipped = Promise.withResolvers<Function>()
  server.context['ship'] = shipped.resolve
  const lines = [
    'const a = 1',
    'let b = 2',
    'var c = 3',
    'function d(x) { return x + c }',
    'class E { get e() { return 5 } }',
    'const f = await Promise.resolve(6)',
    'const { basename } = await import("node:path")',
    'const os = require("node:os")',
    'const a = 2',
    'ship(x => [a, b, c, d(x), new E().e, f, basename("/y/z"), typeof os.cpus])',
  ]
  const printed: string[] = []
  output.on('data', (text: string) => printed.push(text))
  const ready = async (): Promise<void> => {
    while (!printed.at(-1)?.endsWith('<ready>')) {
      await once(output, 'data', { signal: AbortSignal.timeout(5000) })
    }
  }
  for (const line of lines) {
    await ready()
    printed.push('')
    input.write(`${line}\n`)
  }
  const fn = await shipped.promise
  expect(printed.join('')).toContain('already been declared')
  expect(functionLocation(fn)?.file).toMatch(/^REPL\d+$/)
  expect(await remote.call(fn, 1)).toEqual([1, 2, 3, 4, 5, 6, 'z', 'function'])
  const local = reviveClosure(encodeClosure(capture(fn, { globals: server.context })))
  expect(local(1)).toEqual([1, 2, 3, 4, 5, 6, 'z', 'function'])
})

test('the globals option finds names of a context that the function does not stand in', () => {
  const fn = vm.runInThisContext('() => elsewhere + 1') as Function
  expect(() => capture(fn)).toThrow(/"elsewhere"/)
  expect(reviveClosure(encodeClosure(capture(fn, { globals: { elsewhere: 41 } })))()).toBe(42)
})

test('captures inside a worker thread, too', async () => {
  const nested = async (url: string): Promise<unknown> => {
    const { capture, encodeClosure, reviveClosure } = (await import(url)) as typeof closures
    const { isMainThread } = await import('node:worker_threads')
    const inner = { six: 6 }
    const captured = capture((x: number) => x * inner.six)
    return [isMainThread, reviveClosure(encodeClosure(captured))(7)]
  }
  const url = new URL('../../../../src/rdd/closure/index.ts', import.meta.url).href
  expect(await remote.call(nested, url)).toEqual([false, 42])
})
