import vm from 'node:vm'
import { hasCode } from '../../base/index.ts'
import { declaredPrototype } from '../codec/index.ts'
import { resolveReference } from './builtin-references.ts'
import { badClosure, decodeClosure } from './closure-codec.ts'
import type { Capture, FunctionNode, Node, ObjectParts, Property, Value } from './closure-graph.ts'
import { functionSource } from './function-source.ts'
import { rebuildable } from './native-objects.ts'
import { packagesHere } from './packages.ts'
import type { SharedPort } from './shared-handle.ts'
import { isObject, symbolOf } from './value-shape.ts'

/**
 * The function that was captured, built anew from bytes of encodeClosure: strict, with its own copies of all values.
 * Classes are defined, and so their `extends` and computed keys are evaluated; nothing else of the user's runs.
 * @throws PACKAGE_MISSING
 * @throws BAD_MESSAGE for bytes that encodeClosure did not write, or that name what this peer does not have.
 */
export function reviveClosure(bytes: Uint8Array, context: ReviveContext = {}): Function {
  const built = reviveValue(bytes, context)
  if (typeof built !== 'function') throw badClosure(new TypeError('their root is no function'))
  return built
}

export interface ReviveContext {
  /** For references to shared variables. @default there are none */
  shared?: SharedPort
}

/** What captureValue took, built anew. @throws BAD_MESSAGE */
export function reviveValue(bytes: Uint8Array, context: ReviveContext = {}): unknown {
  const { root, nodes } = decodeClosure(bytes)
  try {
    return new Reviver(nodes, context).revive(root)
  } catch (error) {
    if (hasCode(error, 'PACKAGE_MISSING')) throw error
    throw badClosure(error)
  }
}

/** Assigns a `let` of a function that was built before the value of that variable. */
type Assign = (value: unknown) => void

class Reviver {
  readonly #nodes: readonly Node[]
  readonly #shared: SharedPort | undefined
  /** By node id. An object stands here from its birth, filled or not; a function when it is built. */
  readonly #built = new Map<number, unknown>()
  readonly #inProgress = new Set<number>()
  /** Functions needed while they were being built: by a class that extends them, a bound form of them… */
  readonly #forced = new Set<number>()
  /** By the node that is missing. */
  readonly #waiting = new Map<number, Assign[]>()
  /**
   * Contents still to be put into objects, mostly when all functions stand. A list, so that deep data does not
   * overflow the stack.
   */
  readonly #fills: (() => void)[] = []

  constructor(nodes: readonly Node[], { shared }: ReviveContext) {
    this.#nodes = nodes
    this.#shared = shared
  }

  revive(root: Value): unknown {
    const value = this.#value(root)
    this.#fill()
    // Whatever is built now may in turn wait: a map shows what is added while it is walked.
    for (const [id, assigns] of this.#waiting) {
      const late = this.#node(id)
      for (const assign of assigns) assign(late)
    }
    this.#fill()
    return value
  }

  #fill(): void {
    for (let fill = this.#fills.pop(); fill !== undefined; fill = this.#fills.pop()) fill()
  }

  #value(value: Value): unknown {
    switch (value.kind) {
      case 'primitive':
        return value.value
      case 'node':
        return this.#node(value.id)
      case 'global':
      case 'builtin':
        return resolveReference(value)
      case 'symbol':
        return symbolOf(value)
      case 'hole':
        break
    }
    throw new TypeError('a hole outside of an array')
  }

  #node(id: number): unknown {
    if (this.#built.has(id)) return this.#built.get(id)
    const node = this.#nodes[id]!
    switch (node.kind) {
      case 'function':
        return this.#function(id, node)
      case 'declared': {
        const prototype = declaredPrototype(node.id)
        if (prototype === undefined) throw new TypeError(`the class ${node.id} was not declared`)
        return this.#keep(id, Reflect.get(prototype, 'constructor'))
      }
      case 'package':
        return this.#keep(id, packagesHere().named(node))
      case 'bytes':
        return this.#keep(id, fromBytes(node.view, node.bytes))
      case 'shared': {
        if (this.#shared === undefined) throw new TypeError('a shared variable outside of a task')
        const of = this.#value(node.of)
        // Its parts must be whole: an accumulator adds with functions of theirs.
        this.#fill()
        return this.#keep(id, this.#shared.handle(node.what, node.id, of))
      }
      case 'prototype-of': {
        const constructor = this.#callable(node.constructor)
        const prototype: unknown = constructor.prototype
        if (!isObject(prototype)) throw new TypeError('a prototype of no class')
        return this.#keep(id, prototype)
      }
      case 'bound': {
        const target = this.#callable(node.target)
        const bound: unknown = bind(
          target,
          this.#value(node.thisArg),
          node.args.map(arg => this.#value(arg)),
        )
        return this.#keep(id, bound)
      }
      case 'native': {
        const rebuild = rebuildable.get(node.constructor)
        if (rebuild === undefined) throw new TypeError(`${node.constructor} cannot be made by name`)
        const object = rebuild.build(node.args)
        return this.#keep(id, object, () => this.#fillParts(object, node))
      }
      case 'array': {
        const array = new Array<unknown>(node.items.length)
        return this.#keep(id, array, () => {
          for (const [i, item] of node.items.entries()) if (item.kind !== 'hole') array[i] = this.#value(item)
          this.#fillParts(array, node)
        })
      }
      case 'map': {
        const map = new Map<unknown, unknown>()
        return this.#keep(id, map, () => {
          for (const [key, item] of node.entries) map.set(this.#value(key), this.#value(item))
          this.#fillParts(map, node)
        })
      }
      case 'set': {
        const set = new Set<unknown>()
        return this.#keep(id, set, () => {
          for (const item of node.items) set.add(this.#value(item))
          this.#fillParts(set, node)
        })
      }
      case 'error': {
        const error = new Error()
        return this.#keep(id, error, () => {
          this.#fillParts(error, node)
          for (const key of ['message', 'stack', 'cause', 'errors']) {
            if (Object.hasOwn(error, key)) Object.defineProperty(error, key, { enumerable: false })
          }
        })
      }
      case 'object':
        break
    }
    const object = {}
    return this.#keep(id, object, () => this.#fillParts(object, node))
  }

  #keep<T>(id: number, value: T, fill?: () => void): T {
    this.#built.set(id, value)
    if (fill !== undefined) this.#fills.push(fill)
    return value
  }

  #callable(value: Value): Function {
    const callable = this.#value(value)
    if (typeof callable !== 'function') throw new TypeError('something else in the place of a function')
    return callable
  }

  #fillParts(object: object, parts: ObjectParts): void {
    if (parts.proto !== undefined) {
      const proto = this.#value(parts.proto)
      if (proto !== null && !isObject(proto)) throw new TypeError('a prototype that is no object')
      Object.setPrototypeOf(object, proto)
    }
    for (const property of parts.properties) this.#define(object, property)
  }

  /** Never a plain assignment: that would call setters, and `__proto__` would be one. */
  #define(object: object, { key, value }: Property): void {
    const name = typeof key === 'string' ? key : symbolOf(key)
    const descriptor = { value: this.#value(value), writable: true, enumerable: true, configurable: true }
    if (!Reflect.defineProperty(object, name, descriptor))
      throw new TypeError(`${String(name)} cannot be defined`)
  }

  #function(id: number, node: FunctionNode): unknown {
    const forced = this.#inProgress.has(id)
    if (forced) {
      if (this.#forced.has(id)) throw new TypeError('classes that need each other to be defined')
      this.#forced.add(id)
    }
    this.#inProgress.add(id)
    const values = new Map<Capture, unknown>()
    for (const capture of node.captures) {
      if (!this.#canWait(id, capture, forced)) values.set(capture, this.#value(capture.value))
    }
    // A computed key may be a member of a captured object, which must be whole before the class is defined.
    if (node.captures.some(({ early, value }) => early && this.#kind(value) === 'object')) this.#fill()
    this.#inProgress.delete(id)
    // Something among the captures may have forced the function, which then stands already.
    if (this.#built.has(id)) return this.#built.get(id)
    const { made, assigns } = compile(node, id, values)
    this.#keep(id, made, () => this.#fillFunction(made, node))
    for (const [capture, assign] of assigns) this.#await(capture, assign)
    for (const assign of this.#waiting.get(id) ?? []) assign(made)
    this.#waiting.delete(id)
    return made
  }

  /**
   * Cycles of functions are cut here: the one that closes the cycle becomes a `let` that is assigned later. One that
   * is forced, being needed in the midst of its own building, lets everything wait that is not there.
   */
  #canWait(id: number, { value, early }: Capture, forced: boolean): boolean {
    if (value.kind !== 'node') return false
    if (value.id === id) return true
    if (early || this.#built.has(value.id)) return false
    if (this.#inProgress.has(value.id)) return true
    const kind = this.#kind(value)
    return forced && (kind === 'function' || kind === 'bound' || kind === 'prototype-of')
  }

  #kind(value: Value): Node['kind'] | undefined {
    return value.kind === 'node' ? this.#nodes[value.id]?.kind : undefined
  }

  #await({ value }: Capture, assign: Assign): void {
    if (value.kind !== 'node') return
    if (this.#built.has(value.id)) {
      assign(this.#built.get(value.id))
      return
    }
    const waiting = this.#waiting.get(value.id) ?? []
    waiting.push(assign)
    this.#waiting.set(value.id, waiting)
  }

  #fillFunction(made: Function, node: FunctionNode): void {
    for (const property of node.properties) this.#define(made, property)
    if (node.prototype?.kind === 'replaced') made.prototype = this.#value(node.prototype.value)
    if (node.prototype?.kind === 'extended') {
      const prototype: unknown = made.prototype
      if (!isObject(prototype)) throw new TypeError('methods for a function that has no prototype')
      this.#fillParts(prototype, node.prototype.parts)
    }
  }
}

function bind(target: Function, thisArg: unknown, args: readonly unknown[]): unknown {
  return Function.prototype.bind.call(target, thisArg, ...args)
}

interface Compiled {
  made: Function
  assigns: Map<Capture, Assign>
}

/**
 * Each function in a script of its own, so that no other's type feedback slows it, and at the place where its author
 * wrote it, so that stacks show that place. What is captured becomes a `const`, which the optimiser folds; `let` only
 * where the text assigns it or where it is not there yet.
 */
function compile(node: FunctionNode, id: number, values: ReadonlyMap<Capture, unknown>): Compiled {
  const given = freshName('$c', node)
  const held: unknown[] = []
  const assigned: Capture[] = []
  let self = ''
  let declarations = ''
  for (const capture of node.captures) {
    if (values.has(capture)) {
      declarations += `${capture.assigned ? 'let' : 'const'} ${capture.name}=${given}[${held.length}];`
      held.push(values.get(capture))
    } else if (isSelf(capture, id) && !capture.assigned && node.form === 'expression') self = capture.name
    else {
      declarations += `let ${capture.name};`
      assigned.push(capture)
    }
  }
  const { source, importer } = withImporter(node)
  if (importer !== undefined) {
    declarations += `const ${importer}=${given}[${held.length}];`
    held.push((specifier: unknown) => packagesHere().import(String(specifier)))
  }
  const prefix = `(${given}=>{"use strict";${declarations}`
  const setters = assigned.map(({ name }) => `,${given}=>{${name}=${given}}`).join('')
  const [before, after] = wrapping(node, self)
  const text = `${prefix}${before}${source}${after}${setters}]})`
  const place = node.location && {
    filename: node.location.file,
    lineOffset: node.location.line - 1,
    columnOffset: node.location.column - 1 - prefix.length - before.length,
  }
  const script = new vm.Script(text, place ?? { filename: 'closure' })
  const factory: unknown = script.runInThisContext()
  if (typeof factory !== 'function') throw new TypeError('text that ends its own wrapping')
  const [first, ...assigns] = factory(held) as [unknown, ...Assign[]]
  const made = node.form === 'method' ? methodOf(first) : first
  if (typeof made !== 'function') throw new TypeError('text that is no function')
  return { made, assigns: new Map(assigned.map((capture, i) => [capture, assigns[i]!])) }
}

/**
 * `import(…)` in a script without a file resolves nothing, so it becomes a call of a function that does; its name is as long
 * as the word, which leaves every other place of the text where it was.
 */
function withImporter({ source, form, captures }: FunctionNode): { source: string; importer?: string } {
  if (!/\bimport\b/.test(source)) return { source }
  const { dynamicImports } = functionSource(source).free
  if (dynamicImports.length === 0) return { source }
  const isFree = (name: string): boolean =>
    !source.includes(name) && captures.every(capture => capture.name !== name)
  const importer = IMPORTERS.find(isFree)
  if (importer === undefined) throw new TypeError(`a ${form} that uses every name`)
  let shipped = source
  for (const { start } of dynamicImports) {
    shipped = shipped.slice(0, start) + importer + shipped.slice(start + importer.length)
  }
  return { source: shipped, importer }
}

const IMPORTERS = ['$impor', ...Array.from({ length: 100 }, (_, i) => `$imp${String(i).padStart(2, '0')}`)]

/** What stands around the source, up to the list that the script returns: `[function, setter, setter…`. */
function wrapping(node: FunctionNode, self: string): [string, string] {
  if (self !== '') return [`const ${self}=(`, `);return[${self}`]
  if (node.form === 'method') return ['return[{', '}']
  if (node.name === undefined) return ['return[(', ')']
  // An anonymous function is named by the property it is the value of.
  const name = JSON.stringify(node.name).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
  return [`return[{[${name}]:(`, `)}[${name}]`]
}

function isSelf({ value }: Capture, id: number): boolean {
  return value.kind === 'node' && value.id === id
}

/** The one method, getter or setter of an object literal. */
function methodOf(holder: unknown): unknown {
  const [key] = isObject(holder) ? Reflect.ownKeys(holder) : []
  if (key === undefined) return undefined
  const { value, ...accessors } = { ...Object.getOwnPropertyDescriptor(holder, key) }
  return value ?? accessors.get ?? accessors.set
}

/** A name that stands nowhere in the text, so that neither hides the other. */
function freshName(wanted: string, node: FunctionNode): string {
  let name = wanted
  while (node.source.includes(name) || node.captures.some(capture => capture.name === name)) name += '$'
  return name
}

const VIEWS: Record<string, (buffer: ArrayBuffer) => object> = {
  ArrayBuffer: buffer => buffer,
  Buffer: buffer => Buffer.from(buffer),
  DataView: buffer => new DataView(buffer),
  Int8Array: buffer => new Int8Array(buffer),
  Uint8Array: buffer => new Uint8Array(buffer),
  Uint8ClampedArray: buffer => new Uint8ClampedArray(buffer),
  Int16Array: buffer => new Int16Array(buffer),
  Uint16Array: buffer => new Uint16Array(buffer),
  Int32Array: buffer => new Int32Array(buffer),
  Uint32Array: buffer => new Uint32Array(buffer),
  Float32Array: buffer => new Float32Array(buffer),
  Float64Array: buffer => new Float64Array(buffer),
  BigInt64Array: buffer => new BigInt64Array(buffer),
  BigUint64Array: buffer => new BigUint64Array(buffer),
}

function fromBytes(view: string, bytes: Uint8Array): object {
  const make = Object.hasOwn(VIEWS, view) ? VIEWS[view] : undefined
  if (make === undefined) throw new TypeError(`bytes of an unknown kind ${view}`)
  return make(Uint8Array.from(bytes).buffer)
}
