import { encodeTextPairs, textPairBatches, type TextPairs } from '../codec/index.ts'
import type { SpillFile } from '../task.ts'
import type { TaskSpill } from './task-spill.ts'
import { TextSlices } from './text-slices.ts'

/** Rows and bytes that are written, and read again, at once: the merge has one such piece of each run in memory. */
const PIECE_ROWS = 4096
const PIECE_BYTES = 256 * 1024

/** Where a row is that comes next in order. */
export type Take = (from: TextPairs, row: number) => void
/** All rows of a run, from first to last. */
export type Rows = (take: Take) => void

/** One sorted run on disk. */
class TextRun {
  readonly #file: SpillFile
  readonly #extents: [start: number, end: number][] = []

  constructor(file: SpillFile, spill: TaskSpill, rows: Rows) {
    this.#file = file
    const piece = new TextSlices(PIECE_ROWS)
    const write = (): void => {
      if (piece.count === 0) return
      const bytes = encodeTextPairs(piece.pairs())
      const start = file.append(bytes)
      this.#extents.push([start, start + bytes.length])
      spill.bytes += bytes.length
      spill.records += piece.count
      piece.clear()
    }
    rows((from, row) => {
      piece.append(from, row)
      if (piece.count === PIECE_ROWS || piece.sizeBytes >= PIECE_BYTES) write()
    })
    write()
  }

  *pieces(): Generator<TextPairs, void, undefined> {
    for (const [start, end] of this.#extents) {
      for (const batch of textPairBatches(this.#file.read(start, end)))
        if ('texts' in batch) yield batch.texts
    }
  }
}

/** Sorted runs of text pairs on disk, and their merge. Of equal keys those of the earlier run come first. */
export class TextRuns {
  readonly #spill: TaskSpill
  readonly #sign: 1 | -1
  #file: SpillFile | undefined
  #runs: TextRun[] = []

  constructor(spill: TaskSpill, ascending: boolean) {
    this.#spill = spill
    this.#sign = ascending ? 1 : -1
  }

  get count(): number {
    return this.#runs.length
  }

  add(rows: Rows): void {
    this.#file ??= this.#spill.open()
    this.#runs.push(new TextRun(this.#file, this.#spill, rows))
  }

  /** All rows, run by run. */
  *pieces(): Generator<TextPairs, void, undefined> {
    for (const run of this.#runs) yield* run.pieces()
  }

  /**
   * All rows in order, handed over one by one by whoever asks for the next so many.
   * @param skipped Bytes that all keys begin with alike.
   */
  merge(skipped: number, fanIn: number): TextMerge {
    while (this.#runs.length > fanIn) this.#mergeSome(skipped, fanIn)
    return new TextMerge(
      this.#runs.map(run => run.pieces()),
      skipped,
      this.#sign,
    )
  }

  /** One pass: neighbouring runs become one, so that equal rows stay in order. */
  #mergeSome(skipped: number, fanIn: number): void {
    const before = this.#runs
    const file = this.#file
    this.#runs = []
    this.#file = undefined
    for (let at = 0; at < before.length; at += fanIn) {
      const some = before.slice(at, at + fanIn).map(run => run.pieces())
      const merge = new TextMerge(some, skipped, this.#sign)
      this.add(take => merge.take(Number.MAX_SAFE_INTEGER, take))
    }
    if (file !== undefined) this.#spill.close(file)
  }

  close(): void {
    if (this.#file !== undefined) this.#spill.close(this.#file)
    this.#file = undefined
  }
}

/** Where the merge stands in one run. */
interface Cursor {
  pieces: Iterator<TextPairs>
  piece: TextPairs
  row: number
}

const PREFIX_BYTES = 6
/** Behind all keys, in either direction. */
const ENDED = Number.POSITIVE_INFINITY

/** Merges by a tree of losers: one comparison a level for each row, of numbers made of the next six bytes of keys. */
export class TextMerge {
  readonly #cursors: Cursor[] = []
  readonly #prefixes: Float64Array
  /** At 0 the winner, at each other place the run that lost there. */
  readonly #tree: Int32Array
  readonly #skipped: number
  readonly #sign: number

  constructor(runs: readonly Iterable<TextPairs>[], skipped: number, sign: 1 | -1) {
    this.#skipped = skipped
    this.#sign = sign
    this.#prefixes = new Float64Array(runs.length).fill(ENDED)
    for (const [index, run] of runs.entries()) {
      const cursor: Cursor = { pieces: run[Symbol.iterator](), piece: NOTHING, row: 0 }
      this.#cursors.push(cursor)
      this.#nextPiece(index, cursor)
    }
    this.#tree = new Int32Array(Math.max(1, runs.length)).fill(-1)
    for (let index = runs.length - 1; index >= 0; index--) this.#play(index)
  }

  /** Hands over the next rows, at most so many. @returns how many; 0 at the end */
  take(rowsMax: number, take: Take): number {
    let taken = 0
    while (taken < rowsMax && this.#cursors.length > 0) {
      const winner = this.#tree[0]!
      if (this.#prefixes[winner] === ENDED) break
      const cursor = this.#cursors[winner]!
      take(cursor.piece, cursor.row)
      taken++
      if (++cursor.row < cursor.piece.count) this.#prefixes[winner] = this.#prefixOf(cursor)
      else this.#nextPiece(winner, cursor)
      this.#play(winner)
    }
    return taken
  }

  #nextPiece(index: number, cursor: Cursor): void {
    const { done, value } = cursor.pieces.next()
    cursor.piece = done === true ? NOTHING : value
    cursor.row = 0
    this.#prefixes[index] = done === true ? ENDED : this.#prefixOf(cursor)
  }

  /** From the leaf of the run up to the root; the winner goes on, the loser stays. */
  #play(index: number): void {
    const tree = this.#tree
    let winner = index
    for (let place = (index + this.#cursors.length) >> 1; place > 0; place >>= 1) {
      const other = tree[place]!
      if (other < 0) {
        // While the tree is built: nobody has come this way from the other side yet.
        tree[place] = winner
        return
      }
      if (!this.#isBefore(other, winner)) continue
      tree[place] = winner
      winner = other
    }
    tree[0] = winner
  }

  #isBefore(left: number, right: number): boolean {
    const a = this.#prefixes[left]!
    const b = this.#prefixes[right]!
    if (a !== b) return a < b
    if (a === ENDED) return left < right
    const order = this.#sign * compareKeys(this.#cursors[left]!, this.#cursors[right]!)
    return order < 0 || (order === 0 && left < right)
  }

  #prefixOf({ piece, row }: Cursor): number {
    const { keys, keyEnds } = piece
    const end = keyEnds[row]!
    let at = (row === 0 ? 0 : keyEnds[row - 1]!) + this.#skipped
    let prefix = 0
    for (let i = 0; i < PREFIX_BYTES; i++, at++) prefix = prefix * 256 + (at < end ? keys[at]! : 0)
    return this.#sign * prefix
  }
}

const NOTHING: TextPairs = {
  count: 0,
  keys: new Uint8Array(),
  keyEnds: new Uint32Array(),
  values: new Uint8Array(),
  valueEnds: new Uint32Array(),
  sizeBytes: 0,
}

function compareKeys(left: Cursor, right: Cursor): number {
  return compareKeyBytes(left.piece, left.row, right.piece, right.row)
}

export function compareKeyBytes(left: TextPairs, i: number, right: TextPairs, j: number): number {
  const a = left.keys
  const b = right.keys
  let at = i === 0 ? 0 : left.keyEnds[i - 1]!
  let other = j === 0 ? 0 : right.keyEnds[j - 1]!
  const end = left.keyEnds[i]!
  const otherEnd = right.keyEnds[j]!
  for (; at < end && other < otherEnd; at++, other++) {
    if (a[at] !== b[other]) return a[at]! - b[other]!
  }
  return end - at - (otherEnd - other)
}
