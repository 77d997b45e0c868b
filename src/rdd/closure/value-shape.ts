import type { SymbolValue } from './closure-graph.ts'
import { types } from 'node:util'

/** Questions about values that run none of the user's code: descriptors and brands, no property reads. */

export function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

export function textOf(fn: Function): string {
  return Function.prototype.toString.call(fn)
}

export function isNativeText(text: string): boolean {
  return /\{\s*\[native code\]\s*\}\s*$/.test(text)
}

/** The function whose prototype object this is; undefined for any other object. */
export function ownConstructor(value: object): Function | undefined {
  if (types.isProxy(value)) return undefined
  const constructor: unknown = Object.getOwnPropertyDescriptor(value, 'constructor')?.value
  if (typeof constructor !== 'function' || types.isProxy(constructor)) return undefined
  const own: unknown = Object.getOwnPropertyDescriptor(constructor, 'prototype')?.value
  return own === value ? constructor : undefined
}

/** A prototype object of the engine without a constructor: iterators and the like. */
export function isEnginePrototype(proto: object): boolean {
  return Object.values(Object.getOwnPropertyDescriptors(proto)).some(
    ({ value, enumerable }) =>
      enumerable !== true && typeof value === 'function' && isNativeText(textOf(value)),
  )
}

/** Leads nowhere further: bytes, dates, and plain objects and arrays of primitives. */
export function isRow(value: object): boolean {
  if (typeof value === 'function' || types.isProxy(value)) return false
  if (Array.isArray(value)) return !value.some(isObject)
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value) || types.isDate(value)) return true
  const proto: unknown = Object.getPrototypeOf(value)
  if (proto !== Object.prototype && proto !== null) return false
  return !Object.values(Object.getOwnPropertyDescriptors(value)).some(({ value }) => isObject(value))
}

/** Module namespaces, and the interop proxies a test runner's module loader puts in their place. */
export function isNamespace(variable: string, value: unknown): value is object {
  if (!isObject(value)) return false
  return types.isModuleNamespaceObject(value) || /^__vi(te_ssr)?_import_/.test(variable)
}

/** "Float64Array", "DataView"…: the engine's name for it, whatever the user's prototypes say. */
export function viewName(view: ArrayBufferView): string {
  return types.isDataView(view) ? 'DataView' : String(Reflect.get(typedArray, Symbol.toStringTag, view))
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object

/** The symbol by a name that every process knows; undefined when there is none. */
export function symbolValue(symbol: symbol): SymbolValue | undefined {
  const key = Symbol.keyFor(symbol)
  if (key !== undefined) return { kind: 'symbol', key, wellKnown: false }
  const name = wellKnownSymbols.get(symbol)
  return name === undefined ? undefined : { kind: 'symbol', key: name, wellKnown: true }
}

/** @throws RangeError for a well-known name that this engine does not have. */
export function symbolOf({ key, wellKnown }: SymbolValue): symbol {
  if (!wellKnown) return Symbol.for(key)
  for (const [symbol, name] of wellKnownSymbols) if (name === key) return symbol
  throw new RangeError(`no symbol Symbol.${key}`)
}

const wellKnownSymbols = new Map<symbol, string>()
for (const name of Object.getOwnPropertyNames(Symbol)) {
  const value: unknown = Reflect.get(Symbol, name)
  if (typeof value === 'symbol') wellKnownSymbols.set(value, name)
}

/** One step of a path for people: ".name", "[0]", "["odd key"]". */
export function pathStep(key: string | symbol): string {
  if (typeof key === 'symbol') return `[${String(key)}]`
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `.${key}` : `[${shortly(key)}]`
}

/** A map's key, short enough for a message. */
export function shortly(key: unknown): string {
  const text = typeof key === 'string' ? JSON.stringify(key) : isObject(key) ? '…' : String(key)
  return text.length <= 40 ? text : `${text.slice(0, 39)}…`
}

/** Steps as one path: variables of functions inside functions are set apart by " > ". */
export function joinPath(steps: readonly string[]): string {
  return steps.map((step, i) => (i === 0 || /^[.[]/.test(step) ? step : ` > ${step}`)).join('')
}
