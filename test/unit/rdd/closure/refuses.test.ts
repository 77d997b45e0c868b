import { EventEmitter } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import { Readable } from 'node:stream'
import vm from 'node:vm'
import { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import { hasCode } from '../../../../src/base/index.ts'
import { capture, functionLocation, type CaptureOptions } from '../../../../src/rdd/closure/index.ts'
import * as library from './fixtures/library.ts'
import { audited } from './fixtures/audited.ts'

/** The refusal of a function, checked for what every refusal must say: operator, file and line of the function. */
function refusalOf(fn: Function, options: CaptureOptions = {}): { variable: string; reason: string } {
  try {
    capture(fn, { operator: 'filter', ...options })
  } catch (error) {
    if (!hasCode(error, 'CLOSURE_REFUSED')) throw error
    const { variable, reason, file, line } = error.details
    const location = functionLocation(fn)
    expect({ file, line }).toEqual({ file: location?.file, line: location?.line })
    const where = location === undefined ? '' : `${location.file.split('/').at(-1)}:${location.line}: `
    const what = variable === '' ? 'the function' : `captured variable "${variable}"`
    expect(error.message).toBe(`${where}filter(): cannot ship ${what}: ${reason}`)
    return { variable, reason }
  }
  throw new Error('not refused')
}

test('the message names file, line, operator, variable, reason and what to do', () => {
  const client = { socket: new net.Socket() }
  onTestFinished(() => void client.socket.destroy())
  const fn = (x: number): boolean => client.socket.bytesRead > x
  const line = lineOf('const fn = (x: number): boolean => client.socket')
  expect(() => capture(fn, { operator: 'filter' })).toThrow(
    `refuses.test.ts:${line}: filter(): cannot ship captured variable "client.socket": it is a Socket, ` +
      'which lives only in this process; make it inside the function, or capture the plain values you need from it',
  )
})

class Secret {
  #state = 5
  read(): number {
    return this.#state
  }
}
class Session extends EventEmitter {
  user = 'ann'
}
class Bytes extends Uint8Array {}
class Disguised extends Secret {}

const values: [what: string, value: unknown, expected: RegExp][] = [
  ['a server', net.createServer(), /a Server, which lives/],
  ['a stream', Readable.from([]), /a Readable, which lives/],
  ['standard output', process.stdout, /, which lives only in this process/],
  ['an event emitter', new EventEmitter(), /an EventEmitter/],
  ['an instance of a class over one of Node', new Session(), /a Session, which lives/],
  ['a promise', Promise.resolve(1), /a Promise; await it before/],
  ['a proxy', new Proxy({}, {}), /a Proxy/],
  ['a proxy of a function', new Proxy(() => 1, {}), /a Proxy/],
  ['a WeakMap', new WeakMap(), /a WeakMap; use a Map/],
  ['a WeakSet', new WeakSet(), /a WeakSet/],
  ['a WeakRef', new WeakRef({}), /a WeakRef/],
  ['a generator object', (function* () {})(), /a generator object.*\[\.\.\.generator\]/], // prettier-ignore
  ['an async generator object', (async function* () {})(), /a generator object/], // prettier-ignore
  ['an iterator of a map', new Map().entries(), /an iterator/],
  ['an iterator of an array', [].values(), /which lives only in this process/],
  [
    'an instance with #private state',
    new Secret(),
    /an instance of Secret, whose #private state cannot be copied/,
  ],
  ['an instance that inherits #private state', new Disguised(), /an instance of Secret, whose #private/],
  [
    'an unregistered symbol',
    Symbol('mine'),
    /Symbol\(mine\), which exists only in this process; use Symbol\.for/,
  ],
  ['shared memory', new SharedArrayBuffer(8), /shared memory/],
  ['a view of shared memory', new Int32Array(new SharedArrayBuffer(8)), /shared memory/],
  ['a subclass of a typed array', new Bytes(2), /a subclass of Uint8Array/],
  ['a native function without a name', Promise.withResolvers().resolve, /the native function/],
  ['an abort signal', new AbortController().signal, /an AbortSignal/],
  ['a compiled module', new vm.Script('1'), /a Script/],
  ['a getter that throws', { get bad() { throw new Error('no') } }, /reading it threw Error: no/], // prettier-ignore
]

describe('refuses a captured variable that holds', () => {
  test.each(values)('%s', (_, value, expected) => {
    const direct = refusalOf(() => value)
    expect(direct.reason).toMatch(expected)
    expect(direct.variable).toMatch(/^value(\.bad)?$/)
    const config = { deep: [{ ['odd key']: new Map([['k', value]]) }] }
    expect(refusalOf(() => config).variable).toMatch(/^config\.deep\[0\]\["odd key"\]\.get\("k"\)(\.bad)?$/)
  })
})

test('refuses a worker', async () => {
  const worker = new Worker('', { eval: true })
  onTestFinished(async () => void (await worker.terminate()))
  expect(refusalOf(() => worker)).toMatchObject({
    variable: 'worker',
    reason: expect.stringMatching(/a Worker/),
  })
})

test('refuses a file handle, whose class Node does not export', async () => {
  const handle = await fs.promises.open(import.meta.filename)
  onTestFinished(() => handle.close())
  expect(refusalOf(() => handle)).toMatchObject({
    variable: 'handle',
    reason: expect.stringMatching(/a FileHandle/),
  })
})

test('the path leads through captured functions, and the reason names where they stand', () => {
  const found = refusalOf((x: number) => audited(x))
  expect(found.variable).toBe('audited > record > log.entries')
  expect(found.reason).toMatch(/it is a WeakMap; use a Map \(seen from .*fixtures\/audited\.ts:9\)/)
})

test('refuses what the text of the function cannot do elsewhere', () => {
  const holder = {
    value: 1,
    arrow() {
      return () => this.value
    },
    args() {
      return () => arguments.length
    },
    target: function () {
      return () => new.target
    },
    method() {
      return super.toString()
    },
  }
  class Vault {
    #key = 1
    open = (): number => this.#key
    peek(other: Vault): number {
      return other.#key
    }
  }
  const obstacles: [fn: Function, reason: RegExp][] = [
    [holder.arrow(), /`this` of the function around it.*const first/],
    [holder.args(), /`arguments` of the function around it/],
    [holder.target(), /new\.target/],
    [Reflect.get(holder, 'method'), /`super`/],
    [new Vault().open, /`this`|#private/],
    [Reflect.get(Vault.prototype, 'peek'), /#private member/],
    [
      vm.runInThisContext('(class { static #m() {} static leak() { return this.#m } }).leak()') as Function,
      /#private member/,
    ],
    [vm.runInThisContext('x => eval("x")') as Function, /calls eval\(\)/],
    [() => import.meta.url, /import\.meta/],
    [vm.runInThisContext('(function (a, a) { return a })') as Function, /no strict JavaScript/],
  ]
  for (const [fn, reason] of obstacles)
    expect(refusalOf(fn)).toMatchObject({ variable: '', reason: expect.stringMatching(reason) })
})

test('an unresolved name is refused, unless it stands only under typeof', () => {
  const fn = vm.runInThisContext('() => typeof nope === "undefined" ? 1 : nope', {
    filename: 'REPL7',
  }) as Function
  expect(refusalOf(fn)).toMatchObject({
    variable: 'nope',
    reason: expect.stringMatching(/no variable of that name/),
  })
  expect(capture(vm.runInThisContext('() => typeof nope') as Function).nodes).toHaveLength(1)
})

test('a name that only a computed key of a class uses is refused: no closure keeps it', () => {
  const key = 'read'
  class Keyed {
    [key](): number {
      return 1
    }
  }
  expect(refusalOf(() => Keyed)).toMatchObject({
    variable: 'Keyed > key',
    reason: expect.stringMatching(/no trace/),
  })
})

test('a variable without a value yet is refused', () => {
  const fn = (): number => later
  expect(refusalOf(fn)).toMatchObject({ variable: 'later', reason: expect.stringMatching(/no value yet/) })
  const later = 1
  expect(fn()).toBe(later)
})

test('a namespace as a whole brings all of its exports', () => {
  expect(refusalOf(() => Object.keys(library)).variable).toBe('library.heavy')
})

test('a capture larger than the limit is refused with the path of the variable', () => {
  const model = { name: 'm', weights: new Float64Array(200_000) }
  expect(refusalOf(() => model.weights[0])).toEqual({
    variable: 'model.weights',
    reason:
      'it makes the closure larger than 1048576 bytes; broadcast() it instead, and read its .value in the function',
  })
  expect(capture(() => model.weights[0], { maxBytes: 2_000_000 }).warnings[0]).toMatch(
    /broadcast\(\) what is large/,
  )
  const sparse: number[] = []
  sparse.length = 2 ** 32 - 1
  expect(refusalOf(() => sparse).reason).toMatch(/larger than 1048576 bytes/)
  const text = 'x'.repeat(2 ** 20)
  expect(refusalOf(() => text).variable).toBe('text')
})

test('a graph of more than 1000 nodes is refused with its longest path', () => {
  type List = { next: List | undefined }
  let list: List = { next: undefined }
  for (let i = 0; i < 2000; i++) list = { next: list }
  const head = list
  const found = refusalOf(() => head)
  expect(found.variable).toBe('head')
  expect(found.reason).toMatch(
    /leads to more than 1000 objects, the longest way being head\.next\.next.* … \.next\.next\.next \(10\d\d steps\)/,
  )
})

test('rows do not count as nodes: a table of them is limited by its bytes', () => {
  const rows = Array.from({ length: 5000 }, (_, id) => ({ id, tag: 'a' }))
  expect(capture(() => rows.length).nodes).toHaveLength(5002)
  const deep = rows.map(row => ({ row }))
  expect(refusalOf(() => deep)).toMatchObject({
    variable: 'deep',
    reason: expect.stringMatching(/1000 objects/),
  })
})

function lineOf(text: string): number {
  return (
    fs
      .readFileSync(import.meta.filename, 'utf8')
      .split('\n')
      .findIndex(line => line.trim().startsWith(text)) + 1
  )
}
