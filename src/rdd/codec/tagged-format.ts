/**
 * Values of mixed types, one after the other: a tag and what it needs. Written so that equal values are equal bytes,
 * whatever became of them before: how the engine holds a number or a text, whether two parts of a row are one object or
 * two alike, whether an object came from a class or from the wire, which NaN it is. Two attempts at one task are compared
 * by their bytes, and one of them may have had its rows on disk in between.
 *
 *     count   = LEB128, up to 2^53
 *     text    = count of 2 × bytes + (1 when UTF-16), bytes: UTF-8, or UTF-16 where lone surrogates would not survive
 *     int     = zigzag count: whole numbers of 32 bits, but not -0
 *     float   = f64 little-endian: all other numbers
 *     bigint  = 1 when negative u8, bytes of the magnitude, most significant first
 *     array   = count of elements, then values; a hole is a tag of its own
 *     sparse  = length, count of elements, then (index, value): arrays that are mostly holes
 *     record  = shape, then values in its order; a shape that is not known yet follows its number: count of names, names
 *     map, set = count of entries, then (key and value) or member
 *     error   = index in ERROR_NAMES u8, flags u8 (1 message, 2 cause), message, cause
 *     bytes   = index in VIEW_NAMES u8, count of bytes, bytes; NaN always with the same bits
 *     again   = number of an array, record, map, set or error of this row, counted as they begin: of cyclic rows only
 *     instance = class, then a record; a class that is not known yet follows its number as a text (declared-classes.ts)
 *     cyclic  = before a row that holds cycles
 */
export const TAG = {
  undefined: 0,
  null: 1,
  false: 2,
  true: 3,
  int: 4,
  float: 5,
  text: 6,
  bigint: 7,
  array: 8,
  sparse: 9,
  hole: 10,
  record: 11,
  map: 12,
  set: 13,
  date: 14,
  regexp: 15,
  error: 16,
  boxed: 17,
  bytes: 18,
  again: 19,
  cyclic: 20,
  instance: 21,
} as const

/** Errors that keep their type, as with structured clone; all others are `Error`. */
export const ERROR_NAMES = [
  'Error',
  'EvalError',
  'RangeError',
  'ReferenceError',
  'SyntaxError',
  'TypeError',
  'URIError',
] as const

export const ERROR_HAS = { message: 1, cause: 2 } as const

export const VIEW_NAMES = [
  'ArrayBuffer',
  'DataView',
  'Buffer',
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
  'Float16Array',
] as const
export type ViewName = (typeof VIEW_NAMES)[number]

/** An array is written by its elements when so many holes are met, */
export const HOLES_MAX = 1_000
/** and so large a share of all places up to there are holes. */
export const SPARSE_SHARE = 7 / 8
