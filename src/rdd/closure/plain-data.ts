import { types } from 'node:util'
import { isNativeText, isObject, ownConstructor, textOf, viewName } from './value-shape.ts'

/**
 * True when structured cloning keeps all of it: primitives, arrays, plain objects, maps, sets, dates, bytes, and nothing
 * with a class or function of the user's. Runs none of the user's code but proxies' traps, which it does not touch.
 */
export function isPlainData(value: unknown): boolean {
  const pending: unknown[] = [value]
  const seen = new Set<object>()
  while (pending.length > 0) {
    const item = pending.pop()
    if (typeof item === 'symbol' || typeof item === 'function') return false
    if (!isObject(item) || seen.has(item)) continue
    seen.add(item)
    if (!hasUsualShape(item)) return false
    if (types.isMap(item)) {
      for (const [key, held] of Map.prototype.entries.call(item)) pending.push(key, held)
    } else if (types.isSet(item)) {
      for (const held of Set.prototype.values.call(item)) pending.push(held)
    } else if (!isLeaf(item)) {
      for (const key of Object.keys(item)) {
        const property = Object.getOwnPropertyDescriptor(item, key)
        if (property?.get !== undefined) return false
        // The most common things first: rows of primitives are not put on the list.
        const held: unknown = property?.value
        if (isObject(held) || typeof held === 'symbol') pending.push(held)
      }
    }
  }
  return true
}

function isLeaf(value: object): boolean {
  return (
    ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value) || types.isDate(value) || types.isRegExp(value)
  )
}

function hasUsualShape(value: object): boolean {
  if (types.isProxy(value)) return false
  if (Object.getOwnPropertySymbols(value).length > 0) return false
  const proto = Object.getPrototypeOf(value) as object | null
  if (proto === null) return false
  const name = builtinName(proto)
  if (Array.isArray(value)) return name === 'Array'
  if (types.isMap(value)) return name === 'Map' && Object.keys(value).length === 0
  if (types.isSet(value)) return name === 'Set' && Object.keys(value).length === 0
  if (types.isDate(value)) return name === 'Date' && Object.keys(value).length === 0
  if (types.isRegExp(value)) return name === 'RegExp' && Object.keys(value).length === 0
  if (ArrayBuffer.isView(value)) {
    if (types.isSharedArrayBuffer(value.buffer)) return false
    return name === viewName(value) || (Buffer.isBuffer(value) && proto === Buffer.prototype)
  }
  if (types.isArrayBuffer(value)) return name === 'ArrayBuffer'
  return name === 'Object' && !isExotic(value)
}

/** What looks plain but has a state of its own inside. */
function isExotic(value: object): boolean {
  return (
    types.isNativeError(value) ||
    types.isBoxedPrimitive(value) ||
    types.isArgumentsObject(value) ||
    types.isExternal(value)
  )
}

const names = new WeakMap<object, string>()

/** "Array" for Array.prototype of any realm, '' for what is not the engine's. */
function builtinName(proto: object): string {
  const known = names.get(proto)
  if (known !== undefined) return known
  const constructor = ownConstructor(proto)
  const name = constructor !== undefined && isNativeText(textOf(constructor)) ? constructor.name : ''
  names.set(proto, name)
  return name
}
