import { ShoalError } from '../../base/errors.ts'

/**
 * The row codec: a partition's rows as a sequence of self-contained columnar batches, each a whole number of 8 bytes.
 *
 *     batch  = magic u16 | version u8 | 0 u8 | batch bytes u32 | rows u32 | 0 u32 | column
 *     column = kind u8, then by kind (numbers little-endian, aligned to their width from the batch's start)
 *       null, undefined   nothing
 *       int32, float64    one value each
 *       boolean           one byte each
 *       string            encoding u8, width u8 (1, 2, 4), text bytes u32, UTF-16 lengths, text
 *       tuple             arity u8, then that many columns: arrays of one length
 *       list              width u8, values u32, lengths, then one column of all values: arrays of any length
 *       object            names u16, then per name length u16 and UTF-16 units, then the columns
 *       any               values of mixed types (tagged-format.ts)
 *
 * What survives: everything structured clone keeps (Date, Map, Set, BigInt, typed arrays, RegExp, Error, undefined, null,
 * -0, NaN, holes, cycles, lone surrogates, names like `__proto__`). Instances of classes arrive as plain objects. Two
 * references to one object arrive as two objects, unless they lie on one cycle. Named extra properties of arrays and the
 * stacks of errors do not arrive.
 *
 * Equal rows are equal bytes, however each of them came to be: outputs of two attempts at one task are compared so.
 */
export const MAGIC = 0x5253
export const VERSION = 2
export const HEADER_BYTES = 16

export const COLUMN = {
  null: 0,
  undefined: 1,
  int32: 2,
  float64: 3,
  boolean: 4,
  string: 5,
  tuple: 6,
  list: 7,
  object: 8,
  any: 9,
} as const

export const TEXT = { latin1: 0, utf8: 1, utf16: 2 } as const

/** Rows in one batch, at most; the decoder refuses more, so a short message cannot claim billions of rows. */
export const BATCH_ROWS_MAX = 8192
/** A batch is closed when its rows are estimated at so many bytes. */
export const BATCH_TARGET_BYTES = 1 << 20
/** A batch with huge rows may be larger than the target, up to this: positions stay 31-bit. */
export const BATCH_BYTES_MAX = 1 << 30
/** Values of one list column; arrays with more in one batch go through `any`. */
export const LIST_VALUES_MAX = 1 << 20
/** Columns in columns; deeper (or cyclic) rows go through `any` as a whole. */
export const COLUMN_DEPTH_MAX = 6
/** Elements of an array kept as a tuple of columns. */
export const TUPLE_ARITY_MAX = 16
/** Names of an object kept as columns. */
export const OBJECT_NAMES_MAX = 64

export const align = (position: number, width: number): number => (position + width - 1) & ~(width - 1)

/** What a malformed batch is refused with. */
export function malformed(reason: string): ShoalError<'BAD_MESSAGE'> {
  return new ShoalError('BAD_MESSAGE', { type: 'rows', reason }, `rows do not decode: ${reason}`)
}
