import { BatchReader } from './batch-reader.ts'
import {
  BATCH_BYTES_MAX,
  BATCH_ROWS_MAX,
  COLUMN,
  HEADER_BYTES,
  MAGIC,
  malformed,
  VERSION,
} from './batch-format.ts'
import { buildTuples, readColumn, readTupleColumns } from './decode-column.ts'

/** The halves of a batch of [key, value] rows. */
export interface PairColumns {
  count: number
  keys: ArrayLike<unknown>
  values: ArrayLike<unknown>
}

/** All rows of a partition. Throws BAD_MESSAGE on malformed bytes, never anything else. */
export function decodeRows<T = unknown>(bytes: Uint8Array): T[] {
  const total = countRows(bytes)
  // Larger arrays made at once would be dictionaries.
  const rows = total <= ROWS_AT_ONCE_MAX ? new Array<T>(total) : []
  let next = 0
  for (const batch of decodeBatches(bytes)) {
    if (batch.length === total && Array.isArray(batch)) return batch
    for (let i = 0; i < batch.length; i++) rows[next++] = batch[i] as T
  }
  return rows
}

const ROWS_AT_ONCE_MAX = 1 << 24

/** Rows batch by batch, decoded as they are asked for; a batch of numbers may be a typed array (to be read only). */
export function* decodeBatches(bytes: Uint8Array): Generator<ArrayLike<unknown>, void, undefined> {
  for (const batch of batchesOf(bytes)) yield readColumn(batch.reader, batch.rows, 0).values
}

/** Pairs batch by batch, keys and values apart. Throws BAD_MESSAGE when a row is not a pair. */
export function* decodePairBatches(bytes: Uint8Array): Generator<PairColumns, void, undefined> {
  for (const { reader, rows: count, bytes: batch } of batchesOf(bytes)) {
    if (reader.byte() === COLUMN.tuple) {
      const columns = readTupleColumns(reader, count, 0)
      if (columns.length === 2) {
        yield { count, keys: columns[0]!.values, values: columns[1]!.values }
      } else {
        yield splitPairs(buildTuples(columns, count), count)
      }
    } else {
      yield splitPairs(readColumn(new BatchReader(batch, HEADER_BYTES), count, 0).values, count)
    }
  }
}

/** How many rows the bytes hold, from the batch heads alone. */
export function countRows(bytes: Uint8Array): number {
  let rows = 0
  for (const batch of batchesOf(bytes)) rows += batch.rows
  return rows
}

/**
 * How much of the bytes is whole batches, and how many bytes the batch behind them takes, as far as that is seen yet: for
 * readers of streams. What is no batch counts as whole; decoding it says what is wrong.
 */
export function wholeBatchBytes(bytes: Uint8Array): { whole: number; nextBytes: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let start = 0
  while (bytes.length - start >= HEADER_BYTES) {
    const sizeBytes = view.getUint32(start + 4, true)
    if (view.getUint16(start, true) !== MAGIC || sizeBytes < HEADER_BYTES || sizeBytes > BATCH_BYTES_MAX) {
      return { whole: bytes.length, nextBytes: 0 }
    }
    if (sizeBytes > bytes.length - start) return { whole: start, nextBytes: sizeBytes }
    start += sizeBytes
  }
  return { whole: start, nextBytes: start === bytes.length ? 0 : HEADER_BYTES }
}

export function* batchesOf(
  bytes: Uint8Array,
): Generator<{ reader: BatchReader; rows: number; bytes: Uint8Array }> {
  // Not slice(): that of a Buffer is a view.
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes)
  const view = new DataView(aligned.buffer, aligned.byteOffset, aligned.byteLength)
  for (let start = 0; start < aligned.length;) {
    if (aligned.length - start < HEADER_BYTES) throw malformed('a batch without a whole header')
    if (view.getUint16(start, true) !== MAGIC) throw malformed('these are not rows')
    const version = view.getUint8(start + 2)
    if (version !== VERSION) throw malformed(`version ${version}, this peer reads ${VERSION}`)
    const sizeBytes = view.getUint32(start + 4, true)
    const rows = view.getUint32(start + 8, true)
    if (sizeBytes < HEADER_BYTES || sizeBytes % 8 !== 0 || sizeBytes > aligned.length - start) {
      throw malformed(`a batch of ${sizeBytes} bytes where ${aligned.length - start} are left`)
    }
    if (rows > BATCH_ROWS_MAX) throw malformed(`a batch of ${rows} rows`)
    const batch = aligned.subarray(start, start + sizeBytes)
    yield { reader: new BatchReader(batch, HEADER_BYTES), rows, bytes: batch }
    start += sizeBytes
  }
}

function splitPairs(rows: ArrayLike<unknown>, count: number): PairColumns {
  const keys: unknown[] = []
  const values: unknown[] = []
  for (let i = 0; i < count; i++) {
    const row = rows[i]
    if (!Array.isArray(row)) throw malformed('a row is not a [key, value] pair')
    keys.push(row[0])
    values.push(row[1])
  }
  return { count, keys, values }
}
