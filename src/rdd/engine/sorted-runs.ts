import { ENGINE } from './config.ts'
import { SpilledRows } from './spilled-rows.ts'
import type { TaskSpill } from './task-spill.ts'
import type { SpillFile } from '../task.ts'

/** Runs merged at once: each has a batch of a quarter of a megabyte in memory. More are merged in several passes. */
const FAN_IN = 64
/** Rows handed on at once: what loops take at once, so that nothing behind depends on whether there were runs. */
const SLICE_ROWS = ENGINE.sliceElements

export interface RunOrder {
  /** The key of each row. */
  keysOf: (rows: readonly unknown[]) => readonly unknown[]
  compare: (left: unknown, right: unknown) => number
}

type Batches = Iterable<ArrayLike<unknown>>

/** Sorted rows on disk, merged when all are there. Of equal rows those of the earlier run come first. */
export class SortedRuns {
  readonly #spill: TaskSpill
  readonly #order: RunOrder
  readonly #fanIn: number
  #file: SpillFile | undefined
  #runs: SpilledRows[] = []

  /** @param fanIn Runs merged at once, at least 2. */
  constructor(spill: TaskSpill, order: RunOrder, fanIn = FAN_IN) {
    this.#spill = spill
    this.#order = order
    this.#fanIn = fanIn
  }

  get count(): number {
    return this.#runs.length
  }

  /** Writes rows that are in order. */
  add(rows: Iterable<unknown>): void {
    this.#file ??= this.#spill.open()
    const run = new SpilledRows(this.#file, this.#spill)
    for (const row of rows) run.push(row)
    run.flush()
    this.#runs.push(run)
  }

  /**
   * All rows in order, in slices.
   * @param inMemory Runs behind those on disk.
   * @param check Called now and then; throws when the attempt should stop.
   */
  *merged(
    inMemory: readonly (readonly unknown[])[],
    check: () => void,
  ): Generator<unknown[], void, undefined> {
    while (this.#runs.length > this.#fanIn) this.#mergeSome(check)
    const runs: Batches[] = this.#runs.map(run => run.batches())
    for (const rows of inMemory) runs.push(slicesOf(rows))
    for (const slice of mergeRuns(runs, this.#order)) {
      check()
      yield slice
    }
    if (this.#file !== undefined) this.#spill.close(this.#file)
  }

  /** One pass: neighbouring runs become one, so that equal rows stay in order. */
  #mergeSome(check: () => void): void {
    const before = this.#runs
    const file = this.#file
    this.#runs = []
    this.#file = undefined
    for (let at = 0; at < before.length; at += this.#fanIn) {
      const some = before.slice(at, at + this.#fanIn).map(run => run.batches())
      this.add(flat(mergeRuns(some, this.#order), check))
    }
    if (file !== undefined) this.#spill.close(file)
  }
}

function* flat(slices: Iterable<unknown[]>, check: () => void): Generator<unknown, void, undefined> {
  for (const slice of slices) {
    check()
    yield* slice
  }
}

function* slicesOf(rows: readonly unknown[]): Generator<readonly unknown[], void, undefined> {
  for (let at = 0; at < rows.length; at += SLICE_ROWS) yield rows.slice(at, at + SLICE_ROWS)
}

/** Where the merge stands in one run. */
class Cursor {
  readonly index: number
  readonly #batches: Iterator<ArrayLike<unknown>>
  readonly #keysOf: RunOrder['keysOf']
  rows: readonly unknown[] = []
  keys: readonly unknown[] = []
  at = 0

  constructor(index: number, batches: Batches, keysOf: RunOrder['keysOf']) {
    this.index = index
    this.#batches = batches[Symbol.iterator]()
    this.#keysOf = keysOf
  }

  /** Goes to the next row; false at the end. */
  next(): boolean {
    if (++this.at < this.rows.length) return true
    for (;;) {
      const { done, value } = this.#batches.next()
      if (done === true) return false
      if (value.length === 0) continue
      this.rows = Array.isArray(value) ? value : Array.from(value)
      this.keys = this.#keysOf(this.rows)
      this.at = 0
      return true
    }
  }
}

/** Merges by a binary heap of the runs. */
function* mergeRuns(
  runs: readonly Batches[],
  { keysOf, compare }: RunOrder,
): Generator<unknown[], void, undefined> {
  const heap: Cursor[] = []
  const isBefore = (left: Cursor, right: Cursor): boolean => {
    const order = compare(left.keys[left.at], right.keys[right.at])
    return order < 0 || (order === 0 && left.index < right.index)
  }
  const sink = (from: number): void => {
    const cursor = heap[from]!
    let place = from
    for (;;) {
      let child = 2 * place + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, cursor)) break
      heap[place] = heap[child]!
      place = child
    }
    heap[place] = cursor
  }
  for (const [index, batches] of runs.entries()) {
    const cursor = new Cursor(index, batches, keysOf)
    if (cursor.next()) heap.push(cursor)
  }
  for (let from = heap.length >> 1; from-- > 0;) sink(from)
  let slice: unknown[] = []
  while (heap.length > 0) {
    const top = heap[0]!
    slice.push(top.rows[top.at])
    if (!top.next()) {
      const last = heap.pop()!
      if (heap.length === 0) break
      heap[0] = last
    }
    sink(0)
    if (slice.length < SLICE_ROWS) continue
    yield slice
    slice = []
  }
  if (slice.length > 0) yield slice
}
