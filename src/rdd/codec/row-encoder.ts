import { BATCH_ROWS_MAX, BATCH_TARGET_BYTES } from './batch-format.ts'
import { encodeBatch, encodePairBatch } from './encode-column.ts'
import { estimateBytes } from './estimate-bytes.ts'

/** One row in so many is measured, to know when a batch is large enough. */
const SAMPLE_EVERY = 32

/** Collects rows into batches of at most 8192 rows or about 1 MiB. */
export class RowEncoder {
  /** The open batch is the first `#count` of these; the array is kept, or it would grow anew for each batch. */
  readonly #open: unknown[] = []
  #count = 0
  #estimate = 0
  #chunks: Uint8Array[] = []
  #encodedBytes = 0
  #total = 0

  /** Rows appended so far. */
  get rows(): number {
    return this.#total + this.#count
  }

  /** Bytes held: encoded batches and an estimate of the open one. */
  get heldBytes(): number {
    return this.#encodedBytes + this.#estimate
  }

  /** Bytes of whole batches. */
  get encodedBytes(): number {
    return this.#encodedBytes
  }

  append(row: unknown): void {
    const count = this.#count++
    this.#open[count] = row
    if (count % SAMPLE_EVERY === 0) this.#estimate += SAMPLE_EVERY * estimateBytes(row)
    if (count + 1 === BATCH_ROWS_MAX || this.#estimate >= BATCH_TARGET_BYTES) this.flush()
  }

  /** Whole batches are cut out of the array without being copied row by row. */
  appendAll(rows: readonly unknown[]): void {
    this.flush()
    for (let start = 0; start < rows.length;) {
      const end = batchEnd(rows, start)
      this.#add(encodeBatch(rows.slice(start, end), end - start), end - start)
      start = end
    }
  }

  /** Encodes the open batch, which lets go of its rows. */
  flush(): void {
    if (this.#count === 0) return
    const batch = encodeBatch(this.#open, this.#count)
    this.#open.fill(undefined, 0, this.#count)
    this.#add(batch, this.#count)
    this.#count = 0
    this.#estimate = 0
  }

  /** Hands over the whole batches; the open one stays. */
  take(): Uint8Array {
    const bytes = joined(this.#chunks, this.#encodedBytes)
    this.#chunks = []
    this.#encodedBytes = 0
    return bytes
  }

  /** The encoded bytes; the encoder is empty afterwards. */
  finish(): Uint8Array {
    this.flush()
    const bytes = joined(this.#chunks, this.#encodedBytes)
    this.#chunks = []
    this.#encodedBytes = 0
    this.#total = 0
    return bytes
  }

  #add(batch: Uint8Array, rows: number): void {
    this.#chunks.push(batch)
    this.#encodedBytes += batch.length
    this.#total += rows
  }
}

/** Where the batch that begins at `start` is full. */
function batchEnd(rows: readonly unknown[], start: number): number {
  const last = Math.min(start + BATCH_ROWS_MAX, rows.length)
  let bytes = 0
  for (let i = start; i < last; i += SAMPLE_EVERY) {
    bytes += SAMPLE_EVERY * estimateBytes(rows[i])
    if (bytes >= BATCH_TARGET_BYTES) return Math.min(i + SAMPLE_EVERY, last)
  }
  return last
}

/** The same for [key, value] rows that never existed as arrays. */
export class PairEncoder {
  readonly #keys: unknown[] = []
  readonly #values: unknown[] = []
  #count = 0
  #estimate = 0
  #chunks: Uint8Array[] = []
  #encodedBytes = 0
  #encodedRows = 0
  #takenRows = 0

  /** All that were ever appended. */
  get rowsTotal(): number {
    return this.#takenRows + this.#encodedRows + this.#count
  }

  get heldBytes(): number {
    return this.#encodedBytes + this.#estimate
  }

  /** Estimate of the open batch. */
  get openBytes(): number {
    return this.#estimate
  }

  append(key: unknown, value: unknown): void {
    const count = this.#count++
    this.#keys[count] = key
    this.#values[count] = value
    if (count % SAMPLE_EVERY === 0)
      this.#estimate += SAMPLE_EVERY * (estimateBytes(key) + estimateBytes(value))
    if (count + 1 === BATCH_ROWS_MAX || this.#estimate >= BATCH_TARGET_BYTES) this.flush()
  }

  flush(): void {
    if (this.#count === 0) return
    const batch = encodePairBatch(this.#keys, this.#values, this.#count)
    this.#keys.fill(undefined, 0, this.#count)
    this.#values.fill(undefined, 0, this.#count)
    this.#chunks.push(batch)
    this.#encodedBytes += batch.length
    this.#encodedRows += this.#count
    this.#count = 0
    this.#estimate = 0
  }

  /** Hands over the encoded batches; the encoder is empty afterwards. */
  finish(): Uint8Array[] {
    this.flush()
    return this.take().chunks
  }

  /** Hands over what is encoded so far; the open batch stays. */
  take(): { chunks: Uint8Array[]; rows: number } {
    const taken = { chunks: this.#chunks, rows: this.#encodedRows }
    this.#chunks = []
    this.#encodedBytes = 0
    this.#takenRows += this.#encodedRows
    this.#encodedRows = 0
    return taken
  }
}

/** Rows of one partition as bytes; no rows are no bytes. Throws VALUE_REFUSED for what cannot travel. */
export function encodeRows(rows: Iterable<unknown>): Uint8Array {
  const encoder = new RowEncoder()
  if (Array.isArray(rows)) encoder.appendAll(rows)
  else for (const row of rows) encoder.append(row)
  return encoder.finish()
}

export function joined(chunks: readonly Uint8Array[], totalBytes: number): Uint8Array {
  if (chunks.length === 1) return chunks[0]!
  const bytes = new Uint8Array(totalBytes)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}
