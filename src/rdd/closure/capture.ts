import { dirname, isAbsolute } from 'node:path'
import { types } from 'node:util'
import { builtinReference, isStandardGlobal } from './builtin-references.ts'
import { CaptureOrigins, isUsual } from './capture-origins.ts'
import { CaptureTrail, type Position } from './capture-trail.ts'
import type {
  Capture,
  CapturedClosure,
  FunctionNode,
  Node,
  ObjectParts,
  Primitive,
  Property,
  SourceLocation,
  SymbolValue,
  Value,
} from './closure-graph.ts'
import { closureLimits } from './config.ts'
import type { VariableUse } from './free-variables.ts'
import { inspectFunction, type ClosureScope } from './function-inspector.ts'
import { functionLocation, sourceLocation } from './function-location.ts'
import type { FunctionSource } from './function-source.ts'
import { rebuildable, unshippable } from './native-objects.ts'
import { findPackage, packageName } from './package-files.ts'
import type { PackageNeed } from './packages.ts'
import { obstacleReasons } from './refusal.ts'
import { SharedHandle } from './shared-handle.ts'
import {
  isNamespace,
  isNativeText,
  isObject,
  isRow,
  ownConstructor,
  pathStep,
  shortly,
  symbolValue,
  textOf,
  viewName,
} from './value-shape.ts'

export interface CaptureOptions {
  /** Bytes of text and values. @default 1 MiB */
  maxBytes?: number
  /** Graph nodes, rows of primitives not counted. @default 1000 */
  maxNodes?: number
  /** Operator the function is for, named in refusals. */
  operator?: string
  /** Classes that the user declared, with their ids: they travel apart, once. */
  classes?: ReadonlyMap<Function, string>
  /** Global object to look free names up in, when the function's own cannot be found (a REPL's context). */
  globals?: object
}

/**
 * Takes a function with all it refers to as plain data: its text, the values of its captured variables, and in the
 * same way the functions and classes among those. Copies, as of now; getters are read once. Nothing is run but
 * getters of the captured objects.
 * @throws CLOSURE_REFUSED naming the variable, and the user's file and line.
 */
export function capture(fn: Function, options: CaptureOptions = {}): CapturedClosure {
  return new Capturer(functionLocation(fn), options).capture(fn)
}

/** The same of any value: a broadcast's. */
export function captureValue(value: unknown, options: CaptureOptions): CapturedClosure {
  return new Capturer(undefined, options).capture(value)
}

/** Bytes a node or value takes besides its content, rounded up; the limit need not be exact. */
const OVERHEAD_BYTES = 8

/** A node whose number is given but whose content is still to be looked at. */
interface Pending {
  id: number
  make: () => Node
  position: Position
}

class Capturer {
  readonly #trail: CaptureTrail
  readonly #origins: CaptureOrigins
  readonly #globals: object | undefined
  readonly #classes: ReadonlyMap<Function, string> | undefined
  readonly #ids = new Map<object, number>()
  readonly #nodes: Node[] = []
  readonly #shared = new Set<SharedHandle>()
  /** Version here, by name. */
  readonly #packages = new Map<string, string | undefined>()
  /** A list instead of recursion, so that no depth of a user's data overflows the stack. */
  readonly #pending: Pending[] = []

  constructor(location: SourceLocation | undefined, options: CaptureOptions) {
    this.#trail = new CaptureTrail(
      { operator: options.operator, location },
      options.maxBytes ?? closureLimits.maxBytes,
      options.maxNodes ?? closureLimits.maxNodes,
    )
    this.#origins = new CaptureOrigins(this.#trail)
    this.#globals = options.globals
    this.#classes = options.classes
    if (options.globals !== undefined) this.#origins.addRealm(options.globals)
  }

  capture(value: unknown): CapturedClosure {
    const root = this.#value(value)
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
      const before = this.#pending.length
      this.#trail.return(next.position)
      this.#nodes[next.id] = next.make()
      // Depth first, and first things first: refusals name the first variable that is at fault.
      this.#pending.push(...this.#pending.splice(before).reverse())
    }
    this.#trail.warnOfSize()
    const { warnings, sizeBytes } = this.#trail
    const packages = Array.from(this.#packages, ([name, version]): PackageNeed =>
      version === undefined ? { name } : { name, version },
    )
    return { root, nodes: this.#nodes, packages, warnings, sizeBytes, shared: [...this.#shared] }
  }

  #value(value: unknown): Value {
    if (typeof value === 'symbol') return this.#symbol(value)
    if (!isObject(value)) return this.#primitive(value as Primitive)
    if (!types.isProxy(value) && value instanceof SharedHandle) return this.#handle(value)
    const reference = this.#origins.reference(value)
    if (reference !== undefined) return reference
    const known = this.#ids.get(value)
    if (known !== undefined) return { kind: 'node', id: known }
    if (typeof value === 'function') {
      const declared = this.#classes?.get(value)
      return this.#node(value, () =>
        declared === undefined ? this.#function(value) : { kind: 'declared', id: declared },
      )
    }
    return this.#node(value, () => this.#object(value))
  }

  #primitive(value: Primitive): Value {
    if (typeof value === 'string') this.#charge(Buffer.byteLength(value) + OVERHEAD_BYTES)
    else if (typeof value === 'bigint') this.#charge(value.toString(16).length + OVERHEAD_BYTES)
    else this.#charge(OVERHEAD_BYTES)
    return { kind: 'primitive', value }
  }

  #symbol(symbol: symbol): SymbolValue {
    const value = symbolValue(symbol)
    if (value === undefined) {
      this.#refuse(`it is ${String(symbol)}, which exists only in this process; use Symbol.for(key)`)
    }
    return value
  }

  #handle(handle: SharedHandle): Value {
    const known = this.#ids.get(handle)
    if (known !== undefined) return { kind: 'node', id: known }
    this.#shared.add(handle)
    return this.#node(handle, () => {
      const { what, of } = handle.shipped()
      return { kind: 'shared', what, id: handle.id, of: this.#value(of) }
    })
  }

  /** Gives out the number before anything looks inside, so that cycles end. */
  #node(value: object, make: () => Node): Value {
    const id = this.#nodes.length
    this.#ids.set(value, id)
    // Before any loop over it: the length of a sparse array costs nothing to its owner.
    this.#charge(OVERHEAD_BYTES + (!types.isProxy(value) && Array.isArray(value) ? value.length : 0))
    this.#trail.countNode(isRow(value))
    this.#nodes.push({ kind: 'object', properties: [] })
    this.#pending.push({ id, make, position: this.#trail.position() })
    return { kind: 'node', id }
  }

  #object(value: object): Node {
    const bad = unshippable(value)
    if (bad !== undefined) this.#refuse(`it is ${bad.what}; ${bad.advice}`)
    if (types.isModuleNamespaceObject(value)) return this.#namespace(value, undefined)
    const constructor = ownConstructor(value)
    if (constructor !== undefined) {
      return {
        kind: 'prototype-of',
        constructor: this.#within('.constructor', () => this.#value(constructor)),
      }
    }
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return this.#bytes(value)
    if (Array.isArray(value)) return this.#array(value)
    if (types.isMap(value)) {
      const entries: [Value, Value][] = []
      for (const [key, item] of Map.prototype.entries.call(value)) {
        entries.push([
          this.#within('.keys()', () => this.#value(key)),
          this.#within(`.get(${shortly(key)})`, () => this.#value(item)),
        ])
      }
      return { kind: 'map', entries, ...this.#parts(value, 'Map') }
    }
    if (types.isSet(value)) {
      const items: Value[] = []
      for (const item of Set.prototype.values.call(value))
        items.push(this.#within('.values()', () => this.#value(item)))
      return { kind: 'set', items, ...this.#parts(value, 'Set') }
    }
    if (types.isNativeError(value)) return this.#error(value)
    for (const [name, rebuild] of rebuildable) {
      if (!rebuild.matches(value)) continue
      const args = rebuild.describe(value)
      for (const arg of args) this.#primitive(arg)
      const proto = this.#proto(value, name)
      const node = { kind: 'native', constructor: name, args, properties: [] } as const
      return proto === undefined ? { ...node, properties: [] } : { ...node, proto, properties: [] }
    }
    return { kind: 'object', ...this.#parts(value, 'Object') }
  }

  #array(value: unknown[]): Node {
    const items: Value[] = []
    for (let i = 0; i < value.length; i++) {
      items.push(i in value ? this.#within(`[${i}]`, () => this.#value(value[i])) : { kind: 'hole' })
    }
    return { kind: 'array', items, ...this.#parts(value, 'Array') }
  }

  #bytes(value: ArrayBufferView | ArrayBufferLike): Node {
    const isView = ArrayBuffer.isView(value)
    if (isView && types.isSharedArrayBuffer(value.buffer)) {
      this.#refuse('it is shared memory; peers share none; copy it into an ordinary array first')
    }
    this.#charge(value.byteLength)
    const bytes = isView
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice()
      : new Uint8Array(value).slice()
    const view = Buffer.isBuffer(value) ? 'Buffer' : isView ? viewName(value) : 'ArrayBuffer'
    const proto = this.#origins.builtinPrototype(Object.getPrototypeOf(value) as object)
    if (proto !== view) this.#refuse(`it is of a subclass of ${view}, of which only the bytes can be copied`)
    return { kind: 'bytes', view, bytes }
  }

  #error(value: Error): Node {
    const parts = this.#parts(value, 'Error')
    for (const key of ['message', 'stack', 'cause', 'errors'] as const) {
      if (!Object.hasOwn(value, key) || Object.prototype.propertyIsEnumerable.call(value, key)) continue
      parts.properties.push({
        key,
        value: this.#within(`.${key}`, () => this.#value(Reflect.get(value, key))),
      })
    }
    return { kind: 'error', ...parts }
  }

  /** Own enumerable properties, and the prototype where it is not the usual one of that kind of object. */
  #parts(value: object, usual: string): ObjectParts {
    const proto = this.#proto(value, usual)
    const properties: Property[] = []
    // Arrays and boxed strings list their indexes first; those are content.
    const content = Array.isArray(value) || usual === 'Boxed'
    for (const key of Reflect.ownKeys(value)) {
      if (content && typeof key === 'string' && /^(0|[1-9]\d*)$/.test(key)) continue
      const property = this.#property(value, key)
      if (property !== undefined) properties.push(property)
    }
    return proto === undefined ? { properties } : { proto, properties }
  }

  #property(holder: object, key: string | symbol): Property | undefined {
    const descriptor = Object.getOwnPropertyDescriptor(holder, key)
    if (descriptor?.enumerable !== true) return undefined
    return this.#within(pathStep(key), () => {
      const shippedKey = typeof key === 'symbol' ? this.#symbol(key) : key
      if (typeof key === 'string') this.#charge(key.length)
      return { key: shippedKey, value: this.#value(this.#read(holder, key)) }
    })
  }

  #read(holder: object, key: string | symbol): unknown {
    try {
      return Reflect.get(holder, key)
    } catch (error) {
      return this.#refuse(`reading it threw ${String(error)}`, error)
    }
  }

  #proto(value: object, usual: string): Value | undefined {
    const proto = Object.getPrototypeOf(value) as object | null
    if (proto === null) return this.#primitive(null)
    const name = this.#origins.builtinPrototype(proto)
    if (name !== undefined && isUsual(name, usual)) return undefined
    // An error's own kind (TypeError) travels by name; other objects of Node or the engine have hidden state.
    if (name !== undefined) {
      if (usual !== 'Error' || !name.endsWith('Error')) this.#origins.refuseInstance(value)
      return this.#origins.reference(proto) ?? { kind: 'global', path: [name, 'prototype'] }
    }
    if (!this.#ids.has(proto)) this.#origins.checkClasses(value, proto, usual)
    return this.#within('.__proto__', () => this.#value(proto))
  }

  #namespace(namespace: object, members: ReadonlySet<string> | undefined): Node {
    const properties: Property[] = []
    for (const key of members ?? Object.keys(namespace)) {
      if (!(key in namespace)) continue
      properties.push(
        this.#within(`.${key}`, () => ({ key, value: this.#value(this.#read(namespace, key)) })),
      )
    }
    return { kind: 'object', properties }
  }

  #function(fn: Function): Node {
    const text = textOf(fn)
    const { scopes, bound, location } = inspectFunction(fn)
    if (bound !== undefined) {
      return {
        kind: 'bound',
        target: this.#within('.<bound function>', () => this.#value(bound.target)),
        thisArg: this.#within('.<bound this>', () => this.#value(bound.thisArg)),
        args: bound.args.map((arg, i) => this.#within(`.<bound argument ${i}>`, () => this.#value(arg))),
      }
    }
    if (types.isProxy(fn)) this.#refuse('it is a Proxy; capture the function behind it')
    if (isNativeText(text)) {
      this.#refuse(
        `it is the native function ${fn.name || '(anonymous)'}, which has no name that other peers know`,
      )
    }
    const url = location?.url ?? ''
    const packaged = this.#origins.packaged(fn, url)
    if (packaged !== undefined) {
      this.#charge(packaged.package.length + packaged.path.join('.').length)
      this.#need(packaged.package, packaged.version)
      return { kind: 'package', ...packaged }
    }
    const source = this.#origins.parse(fn, text)
    const place = location === undefined || url === '' ? undefined : sourceLocation(location, source)
    if (!this.#trail.atStart) this.#trail.place = place
    return { ...this.#functionNode(fn, source, scopes), location: place }
  }

  #functionNode(fn: Function, source: FunctionSource, scopes: readonly ClosureScope[]): FunctionNode {
    const { obstacle, uses } = source.free
    if (obstacle !== undefined) this.#refuse(obstacleReasons[obstacle])
    this.#charge(source.text.length + (this.#trail.place?.file.length ?? 0))
    for (const { specifier } of source.free.dynamicImports) this.#import(specifier)
    if (source.privateStatics)
      this.#trail.warn(`static #private state of ${fn.name} starts again on the executing peer`)
    const realm = scopes.find(scope => scope.type === 'Global')?.variables
    if (realm !== undefined && realm !== globalThis) this.#origins.addRealm(realm)
    const captures: Capture[] = []
    for (const [name, use] of uses) {
      const captured = this.#variable(name, use, scopes, realm)
      if (captured !== undefined) captures.push(captured)
    }
    this.#superclass(fn, source, captures)
    return {
      kind: 'function',
      source: source.text,
      form: source.form,
      name: source.named || typeof fn.name !== 'string' || fn.name === '' ? undefined : fn.name,
      captures,
      properties: this.#functionProperties(fn, source),
      prototype: this.#prototypeOf(fn, source),
      location: undefined,
    }
  }

  /** A package is found on the executing peer; a file of the user's own is here only. */
  #import(specifier: string | undefined): void {
    if (specifier === undefined || /^(\/|file:)/.test(specifier)) {
      this.#trail.warn('import() of a name that is computed, or of a path, is resolved on the executing peer')
    } else if (/^\.{0,2}\/|^\.{1,2}$|^#/.test(specifier)) {
      this.#refuse(
        `it calls import('${specifier}'), which names a file beside this one; ` +
          'import it at the top of the file, and what the function uses of it travels along',
      )
    } else if (!/^(node|data):/.test(specifier) && process.getBuiltinModule(specifier) === undefined) {
      const name =
        packageName(specifier) ?? this.#refuse(`it calls import('${specifier}'), which names no package`)
      const file = this.#trail.place?.file
      const directory = file === undefined || !isAbsolute(file) ? process.cwd() : dirname(file)
      this.#need(name, findPackage(name, directory)?.manifest.version)
    }
  }

  #need(name: string, version: string | undefined): void {
    if (version !== undefined || !this.#packages.has(name)) this.#packages.set(name, version)
  }

  #superclass(fn: Function, { superclass }: FunctionSource, captures: Capture[]): void {
    if (superclass === undefined) return
    const captured = captures.find(({ name }) => name === superclass)
    if (captured !== undefined) captured.early = true
    else {
      const parent: unknown = Object.getPrototypeOf(fn)
      const value = this.#within(superclass, () => this.#value(parent))
      captures.push({ name: superclass, value, assigned: false, early: true })
    }
  }

  #variable(
    name: string,
    use: VariableUse,
    scopes: readonly ClosureScope[],
    realm: object | undefined,
  ): Capture | undefined {
    return this.#within(name, () => {
      for (const { type, variables } of scopes) {
        if (type === 'Global' || !(name in variables)) continue
        return this.#captured(name, use, this.#readVariable(variables, name))
      }
      for (const globals of [realm, this.#globals, globalThis]) {
        if (globals === undefined || !(name in globals)) continue
        return isStandardGlobal(name) ? undefined : this.#captured(name, use, Reflect.get(globals, name))
      }
      if (use.typeofOnly || isStandardGlobal(name)) return undefined
      return this.#refuse(
        use.early
          ? 'it is used only while the class is defined, so the engine kept no trace of it; use it in a method, too'
          : 'no variable of that name can be seen from the function; declare or import it',
      )
    })
  }

  #readVariable(variables: object, name: string): unknown {
    try {
      return Reflect.get(variables, name)
    } catch (error) {
      return this.#refuse('it has no value yet; call the operator after its declaration', error)
    }
  }

  #captured(name: string, use: VariableUse, value: unknown): Capture {
    if (use.assigned) {
      this.#trail.warn(
        `assigning ${name} changes a copy: changes stay on the executing peer; use reduce() or an accumulator`,
      )
    }
    const shipped = isNamespace(name, value) ? this.#module(value, use) : this.#value(value)
    return { name, value: shipped, assigned: use.assigned, early: use.early }
  }

  /** Of a module as a whole, only what is used by name: its other exports may be what cannot be shipped. */
  #module(namespace: object, use: VariableUse): Value {
    const module = types.isProxy(namespace) ? undefined : this.#builtinModule(namespace)
    if (module !== undefined || use.whole) return module ?? this.#value(namespace)
    // A table of its own for each function: another one may use other members.
    return this.#node({}, () => this.#namespace(namespace, use.members))
  }

  /** `import * as fs from 'node:fs'`: the namespace object's default is the module itself. */
  #builtinModule(namespace: object): Value | undefined {
    if (!('default' in namespace)) return undefined
    const module: unknown = this.#read(namespace, 'default')
    if (!isObject(module) || types.isProxy(module)) return undefined
    const reference = builtinReference(module, [])
    return reference?.kind === 'builtin' && reference.path.length === 0 ? reference : undefined
  }

  #functionProperties(fn: Function, source: FunctionSource): Property[] {
    const properties: Property[] = []
    for (const key of Reflect.ownKeys(fn)) {
      if (key === 'prototype' || (typeof key === 'string' && source.keptStatics.has(key))) continue
      const property = this.#property(fn, key)
      if (property !== undefined) properties.push(property)
    }
    return properties
  }

  /** Methods put on `F.prototype`, and inheritance set up by hand; what a class's own text defines is in the text. */
  #prototypeOf(fn: Function, source: FunctionSource): FunctionNode['prototype'] {
    if (source.type !== 'function' && source.type !== 'class') return undefined
    const prototype: unknown = Object.getOwnPropertyDescriptor(fn, 'prototype')?.value
    if (!isObject(prototype)) return undefined
    return this.#within('.prototype', () => {
      if (ownConstructor(prototype) !== fn) return { kind: 'replaced', value: this.#value(prototype) }
      const properties: Property[] = []
      for (const key of Reflect.ownKeys(prototype)) {
        const property = this.#property(prototype, key)
        if (property !== undefined) properties.push(property)
      }
      const parent = Object.getPrototypeOf(prototype) as object | null
      const inherits =
        source.type === 'function' && (parent === null || this.#origins.builtinPrototype(parent) !== 'Object')
      if (!inherits) return properties.length === 0 ? undefined : { kind: 'extended', parts: { properties } }
      return { kind: 'extended', parts: { proto: this.#value(parent), properties } }
    })
  }

  #charge(bytes: number): void {
    this.#trail.charge(bytes)
  }

  #within<T>(part: string, act: () => T): T {
    return this.#trail.within(part, act)
  }

  #refuse(reason: string, cause?: unknown): never {
    return this.#trail.refuse(reason, cause)
  }
}
