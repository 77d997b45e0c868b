import type { BatchReader } from './batch-reader.ts'
import {
  COLUMN,
  COLUMN_DEPTH_MAX,
  LIST_VALUES_MAX,
  malformed,
  OBJECT_NAMES_MAX,
  TEXT,
  TUPLE_ARITY_MAX,
} from './batch-format.ts'
import { readTagged } from './decode-tagged.ts'
import { objectBuilder, tupleBuilder } from './row-builder.ts'

/** A decoded column: its values, and a letter for what holds them. */
export interface Column {
  values: ArrayLike<unknown>
  kind: 'i' | 'f' | 'a' | 'I' | 'F'
}

/**
 * Reads one column of `count` values. Numbers stay in typed arrays that look into the batch; all else is made new.
 * Throws BAD_MESSAGE for whatever no encoder writes.
 */
export function readColumn(reader: BatchReader, count: number, depth: number, ofLists = false): Column {
  const kind = reader.byte()
  switch (kind) {
    case COLUMN.null:
      return { values: Array.from({ length: count }, () => null), kind: 'a' }
    case COLUMN.undefined:
      return { values: Array.from({ length: count }, () => undefined), kind: 'a' }
    case COLUMN.int32:
      return numbers(reader, reader.int32Array(count), 'i', ofLists)
    case COLUMN.float64:
      return numbers(reader, reader.float64Array(count), 'f', ofLists)
    case COLUMN.boolean:
      return { values: Array.from(reader.uint8Array(count), byte => byte === 1), kind: 'a' }
    case COLUMN.string:
      return { values: readStrings(reader, count), kind: 'a' }
    case COLUMN.tuple:
      return { values: readTuples(reader, count, depth), kind: 'a' }
    case COLUMN.list:
      return { values: readLists(reader, count, depth), kind: 'a' }
    case COLUMN.object:
      return { values: readObjects(reader, count, depth), kind: 'a' }
    case COLUMN.any:
      return { values: readTagged(reader, count), kind: 'a' }
    default:
      throw malformed(`a column of unknown kind ${kind}`)
  }
}

/**
 * Code that reads typed arrays in shared memory (of kept partitions) and others in turn runs at a fifth of its speed. So
 * functions are generated for one kind alone, and those that read both get a copy of what is shared.
 */
function numbers(
  reader: BatchReader,
  values: Int32Array | Float64Array,
  kind: 'i' | 'f',
  ofLists: boolean,
): Column {
  if (!reader.isShared) return { values, kind }
  return ofLists ? { values: values.slice(), kind } : { values, kind: kind === 'i' ? 'I' : 'F' }
}

/** The columns of a tuple, not yet put together; its kind byte has been read. */
export function readTupleColumns(reader: BatchReader, count: number, depth: number): Column[] {
  const arity = reader.byte()
  if (arity === 0 || arity > TUPLE_ARITY_MAX) throw malformed(`a tuple of ${arity} columns`)
  checkDepth(depth)
  const columns: Column[] = []
  for (let i = 0; i < arity; i++) columns.push(readColumn(reader, count, depth + 1))
  return columns
}

export function buildTuples(columns: readonly Column[], count: number): unknown[] {
  return tupleBuilder(kindsOf(columns))(valuesOf(columns), count)
}

function readTuples(reader: BatchReader, count: number, depth: number): unknown[] {
  return buildTuples(readTupleColumns(reader, count, depth), count)
}

function readObjects(reader: BatchReader, count: number, depth: number): unknown[] {
  const total = reader.uint16()
  if (total > OBJECT_NAMES_MAX) throw malformed(`an object of ${total} names`)
  checkDepth(depth)
  const names: string[] = []
  for (let i = 0; i < total; i++) names.push(reader.utf16(reader.uint16() * 2))
  const columns = names.map(() => readColumn(reader, count, depth + 1))
  return objectBuilder(names, kindsOf(columns))(valuesOf(columns), count)
}

function readLists(reader: BatchReader, count: number, depth: number): unknown[] {
  checkDepth(depth)
  const width = reader.byte()
  const total = reader.uint32()
  if (total > LIST_VALUES_MAX) throw malformed(`a list of ${total} values`)
  const lengths = reader.lengths(width, count)
  const { values } = readColumn(reader, total, depth + 1, true)
  const rows: unknown[][] = []
  let next = 0
  for (let i = 0; i < count; i++) {
    const end = next + lengths[i]!
    if (end > total) throw malformed('lists are longer than their values')
    const row: unknown[] = []
    for (; next < end; next++) row.push(values[next])
    rows.push(row)
  }
  if (next !== total) throw malformed('lists are shorter than their values')
  return rows
}

function readStrings(reader: BatchReader, count: number): string[] {
  const encoding = reader.byte()
  const width = reader.byte()
  const sizeBytes = reader.uint32()
  const lengths = reader.lengths(width, count)
  const text = readText(reader, encoding, sizeBytes)
  const strings = new Array<string>(count)
  let start = 0
  for (let i = 0; i < count; i++) {
    const end = start + lengths[i]!
    strings[i] = text.slice(start, end)
    start = end
  }
  if (start !== text.length) throw malformed(`strings of ${start} units in a text of ${text.length}`)
  return strings
}

function readText(reader: BatchReader, encoding: number, sizeBytes: number): string {
  if (encoding === TEXT.latin1) return reader.latin1(sizeBytes)
  if (encoding === TEXT.utf8) return reader.utf8(sizeBytes)
  if (encoding === TEXT.utf16) return reader.utf16(sizeBytes)
  throw malformed(`text in unknown encoding ${encoding}`)
}

function checkDepth(depth: number): void {
  if (depth >= COLUMN_DEPTH_MAX) throw malformed(`columns nested deeper than ${COLUMN_DEPTH_MAX}`)
}

const kindsOf = (columns: readonly Column[]): string => columns.map(column => column.kind).join('')
const valuesOf = (columns: readonly Column[]): ArrayLike<unknown>[] => columns.map(column => column.values)
