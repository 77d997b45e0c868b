import type { TextPairs } from '../codec/index.ts'

/** Text is copied by a loop up to so many bytes: a call costs more. */
const LOOP_BYTES_MAX = 64
const BYTES_MIN = 1 << 16

/** Rows of text pairs, copied together one by one. Used again and again: what it shows is valid until it is cleared. */
export class TextSlices {
  readonly #newline: boolean
  count = 0
  readonly #keys: Gathered | undefined
  readonly #values: Gathered

  /**
   * @param rowsMax Rows before it must be cleared.
   * @param options.newline Values end with a newline each, and keys are left out.
   */
  constructor(rowsMax: number, { newline = false } = {}) {
    this.#newline = newline
    this.#keys = newline ? undefined : new Gathered(rowsMax)
    this.#values = new Gathered(rowsMax)
  }

  get sizeBytes(): number {
    return this.#values.length + (this.#keys?.length ?? 0)
  }

  append(from: TextPairs, row: number): void {
    const { keyEnds, valueEnds } = from
    const isFirst = row === 0
    this.#keys?.add(this.count, from.keys, isFirst ? 0 : keyEnds[row - 1]!, keyEnds[row]!)
    this.#values.add(this.count, from.values, isFirst ? 0 : valueEnds[row - 1]!, valueEnds[row]!)
    if (this.#newline) this.#values.newline(this.count)
    this.count++
  }

  /** Not to be kept beyond `clear`. */
  pairs(): TextPairs {
    const keys = this.#keys ?? this.#values
    const { count, sizeBytes } = this
    return {
      count,
      keys: keys.bytes,
      keyEnds: keys.ends,
      values: this.#values.bytes,
      valueEnds: this.#values.ends,
      sizeBytes,
    }
  }

  /** The values. Not to be kept beyond `clear`. */
  text(): Uint8Array {
    return this.#values.bytes.subarray(0, this.#values.length)
  }

  clear(): void {
    this.count = 0
    this.#keys?.clear()
    this.#values.clear()
  }
}

class Gathered {
  bytes = new Uint8Array(BYTES_MIN)
  readonly ends: Uint32Array
  length = 0

  constructor(rowsMax: number) {
    this.ends = new Uint32Array(rowsMax)
  }

  add(row: number, from: Uint8Array, start: number, end: number): void {
    const size = end - start
    // With room for a newline.
    if (this.length + size >= this.bytes.length) this.#grow(size + 1)
    const to = this.bytes
    const at = this.length
    if (size <= LOOP_BYTES_MAX) for (let i = 0; i < size; i++) to[at + i] = from[start + i]!
    else to.set(from.subarray(start, end), at)
    this.length = this.ends[row] = at + size
  }

  newline(row: number): void {
    this.bytes[this.length++] = NEWLINE
    this.ends[row] = this.length
  }

  clear(): void {
    this.length = 0
  }

  #grow(bytes: number): void {
    const wider = new Uint8Array(2 * (this.length + bytes))
    wider.set(this.bytes.subarray(0, this.length))
    this.bytes = wider
  }
}

const NEWLINE = 0x0a
