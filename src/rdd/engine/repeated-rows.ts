import { decodeBatches, encodeRows } from '../codec/index.ts'
import type { SpillFile } from '../task.ts'
import type { MemoryHolding } from './task-memory.ts'

/** Rows that are gone through again and again: encoded in memory as far as there is some, the rest on disk. */
export class RepeatedRows {
  readonly #memory: MemoryHolding
  readonly #inMemory: Uint8Array[] = []
  readonly #extents: [start: number, end: number][] = []
  #file: SpillFile | undefined

  constructor(memory: MemoryHolding) {
    this.#memory = memory
  }

  append(rows: readonly unknown[]): void {
    const bytes = encodeRows(rows)
    if (this.#file === undefined && this.#memory.tryGrow(bytes.length)) {
      this.#inMemory.push(bytes)
      return
    }
    const { spill } = this.#memory
    this.#file ??= spill.open()
    const start = this.#file.append(bytes)
    this.#extents.push([start, start + bytes.length])
    spill.bytes += bytes.length
    spill.records += rows.length
  }

  /** All rows, in the order in which they came. */
  *batches(): Generator<ArrayLike<unknown>, void, undefined> {
    for (const bytes of this.#inMemory) yield* decodeBatches(bytes)
    for (const [start, end] of this.#extents) yield* decodeBatches(this.#file!.read(start, end))
  }
}
