import type { FileFormat } from './namespace-types.ts'

export interface SplitterOptions {
  format: FileFormat
  /** What a partition should be near. @default 33_554_432 */
  partitionBytes?: number
  /**
   * Where even a line is cut. A string of V8 has at most 536,870,888 characters, so no line beyond 1 GiB could
   * ever be a record; below it a line always stays whole. @default 1_073_741_824
   */
  partitionBytesMax?: number
}

/** A piece of the input, uncopied, and what to do after it. */
export interface SplitPiece {
  bytes: Uint8Array
  /** The partition ends after these bytes. */
  cut: boolean
  /** The cut is inside a line that is longer than the hard limit; records of this file cannot be read as text. */
  midLine: boolean
}

export const PARTITION_BYTES = 32 * 2 ** 20
export const PARTITION_BYTES_MAX = 2 ** 30

const NEWLINE = 0x0a
const QUOTE = 0x22

/**
 * Cuts a stream of bytes into partitions without keeping any of it: each pushed chunk comes back at once as slices with marks.
 *
 * - `lines`: a partition ends after the first newline at or beyond its target size, so it is longer than the target by at most
 *   the rest of one line. A record is never in two partitions, so whoever reads one partition reads whole records and needs
 *   no other. (HDFS cuts at fixed sizes and lets readers look into the next block; then no task is ever only local.)
 *   A longer line makes its partition grow up to the hard limit; beyond that it is cut and marked `midLine`, since
 *   storing any file matters more, and readers of text refuse a marked block instead of giving half a line.
 * - `csv`: the same, but a newline between quotes does not count (RFC 4180: quotes inside are doubled, so parity tells).
 * - `binary`: exactly the target size.
 *
 * Where it cuts depends on the bytes alone, not on how they arrive in chunks. The last partition has what is left;
 * an empty input has no partitions.
 */
export class Splitter {
  readonly #format: FileFormat
  readonly #target: number
  readonly #max: number
  /** Bytes of the open partition. */
  #size = 0
  #quoted = false

  constructor({
    format,
    partitionBytes = PARTITION_BYTES,
    partitionBytesMax = PARTITION_BYTES_MAX,
  }: SplitterOptions) {
    this.#format = format
    this.#target = Math.max(1, partitionBytes)
    this.#max = Math.max(this.#target, partitionBytesMax)
  }

  push(chunk: Uint8Array): SplitPiece[] {
    const pieces: SplitPiece[] = []
    let start = 0
    while (start < chunk.length) {
      const end = this.#cutIn(chunk, start)
      const bytes = chunk.subarray(start, end ?? chunk.length)
      this.#size += bytes.length
      const midLine =
        end !== undefined && this.#format !== 'binary' && (this.#quoted || chunk[end - 1] !== NEWLINE)
      pieces.push({ bytes, cut: end !== undefined, midLine })
      if (end === undefined) break
      this.#size = 0
      start = end
    }
    return pieces
  }

  /** Call once at the end of the input: closes the last partition, if one is open. */
  finish(): SplitPiece[] {
    if (this.#size === 0) return []
    this.#size = 0
    return [{ bytes: new Uint8Array(0), cut: true, midLine: false }]
  }

  /** One past the last byte of the open partition, when it ends in this chunk. */
  #cutIn(chunk: Uint8Array, start: number): number | undefined {
    // The last byte that may not yet end the partition is at `earliest - 1`.
    const earliest = start + this.#target - this.#size - 1
    const latest = start + this.#max - this.#size
    if (this.#format === 'binary') return earliest < chunk.length ? earliest + 1 : undefined
    let from = Math.max(start, earliest)
    if (this.#format === 'csv') return this.#cutOutsideQuotes(chunk, start, from, latest)
    if (from >= chunk.length) return undefined
    from = chunk.indexOf(NEWLINE, from)
    if (from !== -1 && from < latest) return from + 1
    return latest <= chunk.length ? latest : undefined
  }

  #cutOutsideQuotes(chunk: Uint8Array, start: number, earliest: number, latest: number): number | undefined {
    const limit = Math.min(latest, chunk.length)
    let from = start
    while (from < limit) {
      const quote = indexBefore(chunk, QUOTE, from, limit)
      if (!this.#quoted && quote > earliest) {
        const newline = indexBefore(chunk, NEWLINE, Math.max(from, earliest), quote)
        if (newline < quote) return newline + 1
      }
      if (quote < limit) this.#quoted = !this.#quoted
      from = quote + 1
    }
    return latest <= chunk.length ? latest : undefined
  }
}

/** First index of `byte` in [from, end), else `end`. */
function indexBefore(chunk: Uint8Array, byte: number, from: number, end: number): number {
  const index = chunk.subarray(from, end).indexOf(byte)
  return index === -1 ? end : from + index
}
