import type { TextPairs } from '../codec/index.ts'
import { ENGINE } from './config.ts'
import { KEY_WORDS, radixSort, sameWords } from './sort.ts'
import type { MemoryHolding } from './task-memory.ts'
import { compareKeyBytes, TextRuns, type Take } from './text-runs.ts'
import { TextSlices } from './text-slices.ts'

/** Per row besides its batch: its place, two orders, four digits, and where its texts end. */
const ROW_BYTES = 28
/** Fewer rows are not worth a run; they are held whatever the limits say. */
const RUN_ROWS_MIN = 8192
/** Rows of one batch, at most: the low bits of a row's name. */
const BATCH_BITS = 13
const BATCH_MASK = (1 << BATCH_BITS) - 1
/** Runs merged at once. */
const FAN_IN = 64

/**
 * Sorts pairs of ASCII strings by key without making strings: batches stay the bytes that they came as, rows are numbers,
 * and what leaves is copied out of the batches in order. Stable, descending too. What there is no memory for goes to disk
 * as sorted runs.
 */
export class TextSort {
  readonly #memory: MemoryHolding
  readonly #ascending: boolean
  readonly #fanIn: number
  #batches: TextPairs[] = []
  #rows = 0
  #runs: TextRuns | undefined
  /** Bytes that all keys so far begin with alike, and a key that does. */
  #common: Uint8Array | undefined

  /** @param fanIn Runs merged at once, at least 2. */
  constructor(memory: MemoryHolding, ascending: boolean, fanIn = FAN_IN) {
    this.#memory = memory
    this.#ascending = ascending
    this.#fanIn = fanIn
  }

  add(batch: TextPairs): void {
    this.#learnCommon(batch)
    const bytes = batch.sizeBytes + batch.count * ROW_BYTES
    if (!this.#memory.tryGrow(bytes)) {
      if (this.#rows >= RUN_ROWS_MIN) this.#writeRun()
      this.#memory.hold(bytes)
    }
    this.#batches.push(batch)
    this.#rows += batch.count
  }

  /** All rows, those with equal keys in the order of their coming; not in order otherwise. It is used up. */
  *unsorted(): Generator<TextPairs, void, undefined> {
    if (this.#runs !== undefined) yield* this.#runs.pieces()
    yield* this.#batches
    this.#close()
  }

  /**
   * All rows in order, in slices of 1024, valid until the next one is asked for. It is used up.
   * @param options.newline Values end with a newline each, and keys are left out.
   * @param check Throws when the attempt should stop.
   */
  *sorted(check: () => void, options: { newline?: boolean } = {}): Generator<TextSlices, void, undefined> {
    const slice = new TextSlices(ENGINE.sliceElements, options)
    const append: Take = (from, row) => slice.append(from, row)
    if (this.#runs === undefined) {
      const order = this.#order()
      for (let start = 0; start < order.length; start += ENGINE.sliceElements) {
        check()
        slice.clear()
        this.#take(order, start, Math.min(start + ENGINE.sliceElements, order.length), append)
        yield slice
      }
    } else {
      if (this.#rows > 0) this.#writeRun()
      const merge = this.#runs.merge(this.#common!.length, this.#fanIn)
      for (;;) {
        check()
        slice.clear()
        if (merge.take(ENGINE.sliceElements, append) === 0) break
        yield slice
      }
    }
    this.#close()
  }

  #close(): void {
    this.#batches = []
    this.#rows = 0
    this.#runs?.close()
    this.#memory.tryResize(0)
  }

  #writeRun(): void {
    this.#runs ??= new TextRuns(this.#memory.spill, this.#ascending)
    const order = this.#order()
    this.#runs.add(take => this.#take(order, 0, order.length, take))
    this.#batches = []
    this.#rows = 0
    this.#memory.tryResize(0)
  }

  #take(order: Uint32Array, from: number, to: number, take: Take): void {
    const batches = this.#batches
    const names = this.#names
    for (let i = from; i < to; i++) {
      const name = names[order[i]!]!
      take(batches[name >>> BATCH_BITS]!, name & BATCH_MASK)
    }
  }

  /** Of each row its batch and its place there. */
  #names = new Uint32Array()

  #order(): Uint32Array {
    const count = this.#rows
    const names = new Uint32Array(count)
    const words = new Uint16Array(count * KEY_WORDS)
    const flip = this.#ascending ? 0 : 0xffff
    const skipped = this.#common?.length ?? 0
    let row = 0
    for (const [index, { count: rows, keys, keyEnds }] of this.#batches.entries()) {
      for (let i = 0, start = 0; i < rows; i++, row++) {
        const end = keyEnds[i]!
        names[row] = (index << BATCH_BITS) | i
        let at = start + skipped
        const word = row * KEY_WORDS
        for (let w = 2; w >= 0; w--, at += 2) {
          const high = at < end ? keys[at]! : 0
          const low = at + 1 < end ? keys[at + 1]! : 0
          words[word + w] = ((high << 8) | low) ^ flip
        }
        start = end
      }
    }
    this.#names = names
    const order = new Uint32Array(count)
    for (let i = 0; i < count; i++) order[i] = i
    const sorted = count === 0 ? order : radixSort(words, order)
    const sign = this.#ascending ? 1 : -1
    const batches = this.#batches
    const compare = (left: number, right: number): number => {
      const a = names[left]!
      const b = names[right]!
      const order = compareKeyBytes(
        batches[a >>> BATCH_BITS]!,
        a & BATCH_MASK,
        batches[b >>> BATCH_BITS]!,
        b & BATCH_MASK,
      )
      return order === 0 ? left - right : sign * order
    }
    for (let start = 0, i = 1; i <= count; i++) {
      if (i < count && sameWords(words, sorted[i]!, sorted[start]!)) continue
      if (i - start > 1) sorted.subarray(start, i).sort(compare)
      start = i
    }
    return sorted
  }

  #learnCommon({ count, keys, keyEnds }: TextPairs): void {
    let common = this.#common ?? keys.slice(0, keyEnds[0])
    for (let i = 0, start = 0; i < count && common.length > 0; i++) {
      const end = keyEnds[i]!
      const most = Math.min(common.length, end - start)
      let shared = 0
      while (shared < most && keys[start + shared] === common[shared]) shared++
      if (shared < common.length) common = common.slice(0, shared)
      start = end
    }
    this.#common = common
  }
}
