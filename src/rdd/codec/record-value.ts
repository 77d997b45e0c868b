import { types } from 'node:util'
import { serialize } from 'node:v8'
import { declaredId } from './declared-classes.ts'

/** Prototypes of classes of which an instance is known to travel as a record. */
const classes = new WeakSet<object>()

/**
 * Whether a value travels as its own named properties alone: plain objects, and instances of classes that are not declared,
 * which arrive as plain objects. What structured clone refuses (promises, handles, …) is no record.
 */
export function isRecord(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype) return true
  if (typeof prototype === 'object' && prototype !== null) {
    if (declaredId(prototype) !== undefined) return false
    if (classes.has(prototype)) return true
    if (isNative(value) || !travels(value)) return false
    classes.add(prototype)
    return true
  }
  return !isNative(value)
}

function isNative(value: object): boolean {
  return (
    Array.isArray(value) ||
    ArrayBuffer.isView(value) ||
    types.isDate(value) ||
    types.isMap(value) ||
    types.isSet(value) ||
    types.isNativeError(value) ||
    types.isRegExp(value) ||
    types.isBoxedPrimitive(value) ||
    types.isAnyArrayBuffer(value)
  )
}

/** Asked once per class: v8 knows what has more to it than its properties. */
function travels(value: object): boolean {
  try {
    serialize(value)
    return true
  } catch {
    return false
  }
}
