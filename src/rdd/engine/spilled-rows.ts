import { decodeBatches, encodeRows, estimateBytes } from '../codec/index.ts'
import type { SpillFile } from '../task.ts'
import type { TaskSpill } from './task-spill.ts'

/** Written at once: an operator has sixteen and more of these open side by side. */
const BATCH_BYTES = 256 * 1024
const BATCH_ROWS = 4096
/** One row in so many is measured. */
const SAMPLE_EVERY = 16

interface Extent {
  start: number
  end: number
  /** Rows before it. */
  first: number
}

/** A list of rows on disk, in the row codec: written from front to end, then read. */
export class SpilledRows {
  readonly #file: SpillFile
  readonly #spill: TaskSpill
  readonly #extents: Extent[] = []
  #open: unknown[] = []
  #openBytes = 0
  #written = 0

  /** @param file May be shared with other lists. */
  constructor(file: SpillFile, spill: TaskSpill) {
    this.#file = file
    this.#spill = spill
  }

  get length(): number {
    return this.#written + this.#open.length
  }

  push(row: unknown): void {
    const count = this.#open.push(row)
    if (count % SAMPLE_EVERY === 1) this.#openBytes += SAMPLE_EVERY * estimateBytes(row)
    if (count >= BATCH_ROWS || this.#openBytes >= BATCH_BYTES) this.flush()
  }

  /** Writes what waits, which lets go of its rows. */
  flush(): void {
    const rows = this.#open
    if (rows.length === 0) return
    const bytes = encodeRows(rows)
    const start = this.#file.append(bytes)
    this.#extents.push({ start, end: start + bytes.length, first: this.#written })
    this.#written += rows.length
    this.#spill.bytes += bytes.length
    this.#spill.records += rows.length
    this.#open = []
    this.#openBytes = 0
  }

  /** All rows in order, read as they are asked for. */
  *batches(): Generator<ArrayLike<unknown>, void, undefined> {
    this.flush()
    for (const extent of this.#extents) yield* this.#read(extent)
  }

  /** The rows that stand together with row `index`, and the number of the first of them. */
  around(index: number): { first: number; rows: ArrayLike<unknown> } {
    this.flush()
    let low = 0
    let high = this.#extents.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#extents[middle]!.first <= index) low = middle
      else high = middle - 1
    }
    const extent = this.#extents[low]!
    let { first } = extent
    for (const rows of this.#read(extent)) {
      if (index < first + rows.length) return { first, rows }
      first += rows.length
    }
    return { first, rows: [] }
  }

  #read({ start, end }: Extent): Generator<ArrayLike<unknown>, void, undefined> {
    return decodeBatches(this.#file.read(start, end))
  }
}
