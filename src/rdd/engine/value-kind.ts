import { types } from 'node:util'
import { ShoalError } from '../../base/errors.ts'

/**
 * What a value is, when it is hashed, compared or ordered as a key. The numbers are the ranks of the default order:
 * values of different kinds sort by them, `null` and `undefined` last.
 */
export const KIND = {
  boolean: 1,
  number: 2,
  bigint: 3,
  string: 4,
  date: 5,
  array: 6,
  bytes: 7,
  map: 8,
  set: 9,
  object: 10,
  null: 11,
  undefined: 12,
} as const

/** Containers in containers of one key; a cyclic key ends here instead of overflowing the stack. */
export const KEY_DEPTH_MAX = 64

/**
 * Kind of a key. Instances of classes count as the plain objects that they arrive as on another peer.
 * Throws VALUE_REFUSED for what has no content: functions, symbols, promises, regular expressions.
 */
export function kindOf(value: unknown): number {
  if (typeof value === 'object') return value === null ? KIND.null : kindOfObject(value)
  const kind = PRIMITIVE_KINDS[typeof value]
  if (kind === undefined) throw refusedKey(`a ${typeof value}`)
  return kind
}

const PRIMITIVE_KINDS: Partial<Record<string, number>> = {
  boolean: KIND.boolean,
  number: KIND.number,
  bigint: KIND.bigint,
  string: KIND.string,
  undefined: KIND.undefined,
}

function kindOfObject(value: object): number {
  if (Array.isArray(value)) return KIND.array
  if (types.isDate(value)) return KIND.date
  if (ArrayBuffer.isView(value)) return KIND.bytes
  if (types.isMap(value)) return KIND.map
  if (types.isSet(value)) return KIND.set
  // Promises, regular expressions, errors, buffers: their content is not in their properties.
  const tag = Object.prototype.toString.call(value).slice('[object '.length, -1)
  if (tag !== 'Object' && Object.keys(value).length === 0) throw refusedKey(`a value of type ${tag}`)
  return KIND.object
}

export function refusedKey(what: string): ShoalError<'VALUE_REFUSED'> {
  return new ShoalError(
    'VALUE_REFUSED',
    { value: what, reason: 'it cannot be compared by content' },
    `${what} cannot be a key: it cannot be compared by content; use a string, number, array or plain object`,
  )
}

export function checkKeyDepth(depth: number): void {
  if (depth > KEY_DEPTH_MAX) throw refusedKey(`a value nested deeper than ${KEY_DEPTH_MAX} (or cyclic)`)
}

/** Bytes of a typed array or DataView. */
export function viewBytes(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}

/** Own enumerable names in code-unit order, so that the order in which they were written does not matter. */
export function sortedNames(value: object): string[] {
  return Object.keys(value).sort()
}
