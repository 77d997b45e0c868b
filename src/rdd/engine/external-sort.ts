import { estimateBytes } from '../codec/index.ts'
import { rowsBlock, type Block } from './block.ts'
import { compareValues } from './ordering.ts'
import type { RowsState } from './sinks.ts'
import { sortRows } from './sort.ts'
import { SortedRuns } from './sorted-runs.ts'
import type { MemoryHolding } from './task-memory.ts'

/** Of the gathered rows, one in so many is measured. */
const MEASURE_EVERY = 16
/** Per row besides its value: place, key, order and digits while it is sorted. */
const ROW_BYTES = 40
/** Fewer rows are not worth a run; they are held whatever the limits say. */
const RUN_ROWS_MIN = 256

/**
 * Sorts the rows of a partition: in memory while it is granted, else by sorted runs on disk that are merged at the end.
 * The order is the same either way, that of equal keys too.
 */
export class ExternalSort {
  /** Where rows are gathered; the array is another one after a run was written. */
  readonly state: RowsState = { rows: [] }
  readonly #memory: MemoryHolding
  readonly #keysOf: (rows: readonly unknown[]) => unknown[]
  readonly #ascending: boolean
  #runs: SortedRuns | undefined
  #measured = 0

  constructor(memory: MemoryHolding, keysOf: (rows: readonly unknown[]) => unknown[], ascending: boolean) {
    this.#memory = memory
    this.#keysOf = keysOf
    this.#ascending = ascending
  }

  /** Counts what was gathered since, and writes a run when there is no room for it. */
  measure(): undefined {
    const { rows } = this.state
    let bytes = 0
    for (; this.#measured < rows.length; this.#measured += MEASURE_EVERY) {
      bytes += MEASURE_EVERY * (ROW_BYTES + estimateBytes(rows[this.#measured]))
    }
    if (this.#memory.tryGrow(bytes)) return undefined
    if (rows.length < RUN_ROWS_MIN) this.#memory.hold(bytes)
    else this.#writeRun()
    return undefined
  }

  #writeRun(): void {
    if (this.#runs === undefined) {
      const sign = this.#ascending ? 1 : -1
      const compare = (left: unknown, right: unknown): number => sign * compareValues(left, right)
      this.#runs = new SortedRuns(this.#memory.spill, { keysOf: this.#keysOf, compare })
    }
    this.#runs.add(this.#sortedRows())
    this.state.rows = []
    this.#measured = 0
    this.#memory.tryResize(0)
  }

  /** All of it, in order. @param check Throws when the attempt should stop. */
  *sorted(check: () => void): Generator<Block, void, undefined> {
    if (this.#runs === undefined) {
      yield rowsBlock(this.#sortedRows())
      return
    }
    // In slices of the loops: with what comes last an empty block, which ends them all.
    for (const rows of this.#runs.merged([this.#sortedRows()], check)) {
      yield { ...rowsBlock(rows), isPart: true }
    }
    yield rowsBlock([])
  }

  #sortedRows(): unknown[] {
    const { rows } = this.state
    return sortRows(rows, this.#keysOf(rows), this.#ascending)
  }
}
