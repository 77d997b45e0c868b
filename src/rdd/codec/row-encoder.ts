import { BATCH_ROWS_MAX, BATCH_TARGET_BYTES } from './batch-format.ts'
import { encodeBatch, encodePairBatch } from './encode-column.ts'
import { estimateBytes } from './estimate-bytes.ts'

/** One row in so many is measured, to know when a batch is large enough. */
const SAMPLE_EVERY = 16

/** Collects rows into batches of at most 8192 rows or about 1 MiB. */
export class RowEncoder {
  #rows: unknown[] = []
  #estimate = 0
  #chunks: Uint8Array[] = []
  #encodedBytes = 0
  #total = 0

  /** Rows appended so far. */
  get rows(): number {
    return this.#total
  }

  /** Bytes held: encoded batches and an estimate of the open one. */
  get heldBytes(): number {
    return this.#encodedBytes + this.#estimate
  }

  append(row: unknown): void {
    if (this.#rows.length % SAMPLE_EVERY === 0) this.#estimate += SAMPLE_EVERY * estimateBytes(row)
    this.#total++
    if (this.#rows.push(row) === BATCH_ROWS_MAX || this.#estimate >= BATCH_TARGET_BYTES) this.flush()
  }

  appendAll(rows: ArrayLike<unknown>): void {
    for (let i = 0; i < rows.length; i++) this.append(rows[i])
  }

  /** Encodes the open batch, which lets go of its rows. */
  flush(): void {
    if (this.#rows.length === 0) return
    this.#add(encodeBatch(this.#rows, this.#rows.length))
    this.#rows = []
    this.#estimate = 0
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

  #add(batch: Uint8Array): void {
    this.#chunks.push(batch)
    this.#encodedBytes += batch.length
  }
}

/** The same for [key, value] rows that never existed as arrays. */
export class PairEncoder {
  #keys: unknown[] = []
  #values: unknown[] = []
  #estimate = 0
  #chunks: Uint8Array[] = []
  #encodedBytes = 0

  get heldBytes(): number {
    return this.#encodedBytes + this.#estimate
  }

  append(key: unknown, value: unknown): void {
    if (this.#keys.length % SAMPLE_EVERY === 0) {
      this.#estimate += SAMPLE_EVERY * (estimateBytes(key) + estimateBytes(value))
    }
    this.#values.push(value)
    if (this.#keys.push(key) === BATCH_ROWS_MAX || this.#estimate >= BATCH_TARGET_BYTES) this.flush()
  }

  flush(): void {
    if (this.#keys.length === 0) return
    const batch = encodePairBatch(this.#keys, this.#values, this.#keys.length)
    this.#chunks.push(batch)
    this.#encodedBytes += batch.length
    this.#keys = []
    this.#values = []
    this.#estimate = 0
  }

  /** Hands over the encoded batches; the encoder is empty afterwards. */
  finish(): Uint8Array[] {
    this.flush()
    const chunks = this.#chunks
    this.#chunks = []
    this.#encodedBytes = 0
    return chunks
  }
}

/** Rows of one partition as bytes; no rows are no bytes. Throws VALUE_REFUSED for what cannot travel. */
export function encodeRows(rows: Iterable<unknown>): Uint8Array {
  const encoder = new RowEncoder()
  for (const row of rows) encoder.append(row)
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
