import { types } from 'node:util'
import { hasCode } from '../../base/errors.ts'
import {
  BATCH_ROWS_MAX,
  COLUMN,
  COLUMN_DEPTH_MAX,
  HEADER_BYTES,
  LIST_VALUES_MAX,
  MAGIC,
  OBJECT_NAMES_MAX,
  TEXT,
  TUPLE_ARITY_MAX,
  VERSION,
} from './batch-format.ts'
import { ByteWriter } from './byte-writer.ts'
import { writeTagged } from './encode-tagged.ts'
import { isRecord } from './record-value.ts'
import { refusedRow } from './refused-row.ts'

/**
 * Writes batches. One pass decides the kind of a column from its first value; the first value that does not fit sends
 * the column to `any`, and where its values could refer to other parts of the row, the whole batch.
 */

/** Reused for every batch of the thread: encoding is synchronous. */
const writer = new ByteWriter(1 << 20)

/** One batch of at most 8192 rows; throws VALUE_REFUSED naming the value that cannot travel. */
export function encodeBatch(rows: readonly unknown[], count: number): Uint8Array {
  begin(count)
  if (!writeColumn(rows, count, 0)) {
    begin(count)
    writeAny(rows, count)
  }
  return end()
}

/** One batch of [key, value] rows whose halves are already apart. */
export function encodePairBatch(
  keys: readonly unknown[],
  values: readonly unknown[],
  count: number,
): Uint8Array {
  begin(count)
  writer.byte(COLUMN.tuple)
  writer.byte(2)
  if (writeColumn(keys, count, 1) && writeColumn(values, count, 1)) return end()
  begin(count)
  const rows = Array.from({ length: count }, (_, i) => [keys[i], values[i]])
  writeAny(rows, count)
  return end()
}

function begin(count: number): void {
  if (count > BATCH_ROWS_MAX) throw new RangeError(`${count} rows do not fit one batch`)
  writer.reset()
  writer.uint16(MAGIC)
  writer.byte(VERSION)
  writer.byte(0)
  writer.uint32(0)
  writer.uint32(count)
  writer.uint32(0)
  if (writer.length !== HEADER_BYTES) throw new RangeError('the header has another size than it claims')
}

function end(): Uint8Array {
  writer.pad(8)
  writer.uint32At(4, writer.length)
  return writer.copy()
}

/** False when the values do not fit a column of their own; what was written then is void. */
function writeColumn(values: readonly unknown[], count: number, depth: number): boolean {
  const first = values[0]
  if (typeof first === 'string') return writeStrings(values, count) || writeClosed(values, count, depth)
  if (typeof first === 'number') return writeNumbers(values, count) || writeClosed(values, count, depth)
  if (typeof first === 'boolean') return writeBooleans(values, count) || writeClosed(values, count, depth)
  if (first === null || first === undefined) {
    return writeConstant(values, count) || writeClosed(values, count, depth)
  }
  if (typeof first === 'object' && depth < COLUMN_DEPTH_MAX) {
    if (Array.isArray(first)) return writeArrays(values, count, depth)
    if (isRecord(first)) return writeObjects(values, count, depth)
  }
  return writeClosed(values, count, depth)
}

function writeConstant(values: readonly unknown[], count: number): boolean {
  const first = values[0]
  for (let i = 1; i < count; i++) if (values[i] !== first) return false
  if (count === 0 || (first === undefined && !allPresent(values, count))) return false
  writer.byte(first === null ? COLUMN.null : COLUMN.undefined)
  return true
}

function allPresent(values: readonly unknown[], count: number): boolean {
  for (let i = 0; i < count; i++) if (!(i in values)) return false
  return true
}

function writeNumbers(values: readonly unknown[], count: number): boolean {
  const start = writer.length
  writer.byte(COLUMN.int32)
  const ints = writer.int32Array(count)
  let i = 0
  for (; i < count; i++) {
    const value = values[i]
    if (typeof value !== 'number') break
    const whole = value | 0
    if (whole !== value || (whole === 0 && Object.is(value, -0))) break
    ints[i] = whole
  }
  if (i === count) return true
  writer.rewind(start)
  if (typeof values[i] !== 'number') return false
  writer.byte(COLUMN.float64)
  const floats = writer.float64Array(count)
  for (let j = 0; j < count; j++) {
    const value = values[j]
    if (typeof value !== 'number') {
      writer.rewind(start)
      return false
    }
    // There are many NaN, and which one an operation gives depends on who compiled it.
    floats[j] = Number.isNaN(value) ? Number.NaN : value
  }
  return true
}

function writeBooleans(values: readonly unknown[], count: number): boolean {
  const start = writer.length
  writer.byte(COLUMN.boolean)
  const bytes = writer.uint8Array(count)
  for (let i = 0; i < count; i++) {
    const value = values[i]
    if (typeof value !== 'boolean') {
      writer.rewind(start)
      return false
    }
    bytes[i] = value ? 1 : 0
  }
  return true
}

/** All strings joined and written once; lengths count UTF-16 units, so slices of the decoded text are exact. */
function writeStrings(values: readonly unknown[], count: number): boolean {
  let longest = 0
  for (let i = 0; i < count; i++) {
    const value = values[i]
    if (typeof value !== 'string') return false
    if (value.length > longest) longest = value.length
  }
  const strings = values as readonly string[]
  const text = (count === strings.length ? strings : strings.slice(0, count)).join('')
  const utf8Bytes = Buffer.byteLength(text)
  const encoding = utf8Bytes === text.length ? TEXT.latin1 : text.isWellFormed() ? TEXT.utf8 : TEXT.utf16
  const sizeBytes = encoding === TEXT.utf16 ? text.length * 2 : utf8Bytes
  writer.byte(COLUMN.string)
  writer.byte(encoding)
  const lengths = writeWidth(longest)
  writer.uint32(sizeBytes)
  const column = lengths(count)
  for (let i = 0; i < count; i++) column[i] = strings[i]!.length
  writer.text(text, encoding === TEXT.latin1 ? 'latin1' : encoding === TEXT.utf8 ? 'utf8' : 'ucs2', sizeBytes)
  return true
}

/** Writes the width that holds `largest`; the returned function reserves the lengths. */
function writeWidth(largest: number): (count: number) => Uint8Array | Uint16Array | Uint32Array {
  const width = largest < 256 ? 1 : largest < 65536 ? 2 : 4
  writer.byte(width)
  if (width === 1) return count => writer.uint8Array(count)
  return width === 2 ? count => writer.uint16Array(count) : count => writer.uint32Array(count)
}

function writeArrays(values: readonly unknown[], count: number, depth: number): boolean {
  const arity = (values[0] as unknown[]).length
  let total = 0
  let same = true
  for (let i = 0; i < count; i++) {
    const value = values[i]
    if (!Array.isArray(value)) return false
    if (value.length !== arity) same = false
    total += value.length
  }
  const arrays = values as readonly (readonly unknown[])[]
  if (same && arity > 0 && arity <= TUPLE_ARITY_MAX) return writeTuples(arrays, count, arity, depth)
  return total <= LIST_VALUES_MAX && writeLists(arrays, count, total, depth)
}

function writeTuples(
  rows: readonly (readonly unknown[])[],
  count: number,
  arity: number,
  depth: number,
): boolean {
  writer.byte(COLUMN.tuple)
  writer.byte(arity)
  for (let j = 0; j < arity; j++) {
    const column = new Array<unknown>(count)
    for (let i = 0; i < count; i++) {
      const row = rows[i]!
      const value = row[j]
      if (value === undefined && !(j in row)) return false
      column[i] = value
    }
    if (!writeColumn(column, count, depth + 1)) return false
  }
  return true
}

function writeLists(
  rows: readonly (readonly unknown[])[],
  count: number,
  total: number,
  depth: number,
): boolean {
  let longest = 0
  const values = new Array<unknown>(total)
  let next = 0
  for (let i = 0; i < count; i++) {
    const row = rows[i]!
    if (row.length > longest) longest = row.length
    for (let j = 0; j < row.length; j++) {
      const value = row[j]
      if (value === undefined && !(j in row)) return false
      values[next++] = value
    }
  }
  writer.byte(COLUMN.list)
  const lengths = writeWidth(longest)
  writer.uint32(total)
  const column = lengths(count)
  for (let i = 0; i < count; i++) column[i] = rows[i]!.length
  if (total > 0) return writeColumn(values, total, depth + 1)
  writer.byte(COLUMN.null)
  return true
}

function writeObjects(values: readonly unknown[], count: number, depth: number): boolean {
  const names = Object.keys(values[0] as object)
  if (names.length > OBJECT_NAMES_MAX) return false
  for (let i = 0; i < count; i++) {
    const value = values[i]
    if (typeof value !== 'object' || value === null || !isRecord(value) || !hasNames(value, names))
      return false
  }
  const rows = values as readonly Record<string, unknown>[]
  writer.byte(COLUMN.object)
  writer.uint16(names.length)
  for (const name of names) {
    if (name.length > 0xffff) return false
    writer.uint16(name.length)
    writer.text(name, 'ucs2', name.length * 2)
  }
  for (const name of names) {
    const column = new Array<unknown>(count)
    for (let i = 0; i < count; i++) column[i] = rows[i]![name]
    if (!writeColumn(column, count, depth + 1)) return false
  }
  return true
}

/** The same own names in the same order. Walks instead of listing: the engine caches the enumeration per shape. */
function hasNames(value: object, names: readonly string[]): boolean {
  if (Object.getPrototypeOf(value) !== Object.prototype) return hasOwnNames(value, names)
  let next = 0
  for (const name in value) if (name !== names[next++]) return false
  return next === names.length
}

/** For instances of classes: walking would meet what they inherit. */
function hasOwnNames(value: object, names: readonly string[]): boolean {
  const own = Object.keys(value)
  return own.length === names.length && own.every((name, i) => name === names[i])
}

/**
 * A column of its own through `any`, if no value can refer to another part of its row: a cycle that leaves the column
 * would be cut. Otherwise the caller falls back as a whole.
 */
function writeClosed(values: readonly unknown[], count: number, depth: number): boolean {
  if (depth === 0) return false
  for (let i = 0; i < count; i++) if (!isClosed(values[i])) return false
  writeAny(values, count)
  return true
}

function isClosed(value: unknown): boolean {
  if (typeof value !== 'object' || value === null)
    return typeof value !== 'function' && typeof value !== 'symbol'
  return types.isDate(value) || ArrayBuffer.isView(value)
}

function writeAny(values: readonly unknown[], count: number): void {
  writer.byte(COLUMN.any)
  try {
    writeTagged(writer, values, count)
  } catch (error) {
    if (hasCode(error, 'TOO_LARGE')) throw error
    throw refusedRow(count === values.length ? values : values.slice(0, count), error)
  }
}
