import { ShoalError } from '../../base/errors.ts'
import { align, BATCH_BYTES_MAX } from './batch-format.ts'

/** Space kept between batches; one huge batch must not hold its buffer for the life of the thread. */
const KEPT_BYTES_MAX = 16 << 20

/** Longer texts are left to the engine. Their length fits one byte. */
const SHORT_TEXT_UNITS = 24

/** A growing byte buffer with typed views. Positions are aligned relative to its start, zeros fill the gaps. */
export class ByteWriter {
  #buffer: Buffer
  #length = 0

  constructor(capacityBytes: number) {
    this.#buffer = Buffer.alloc(capacityBytes)
  }

  get length(): number {
    return this.#length
  }

  reset(): void {
    if (this.#buffer.length > KEPT_BYTES_MAX) this.#buffer = Buffer.alloc(KEPT_BYTES_MAX >> 4)
    this.#length = 0
  }

  byte(value: number): void {
    this.#buffer[this.#take(1, 1)] = value
  }

  uint16(value: number): void {
    this.#buffer.writeUInt16LE(value, this.#take(2, 2))
  }

  uint32(value: number): void {
    this.#buffer.writeUInt32LE(value, this.#take(4, 4))
  }

  uint32At(position: number, value: number): void {
    this.#buffer.writeUInt32LE(value, position)
  }

  /** Views are valid until the next call that grows. */
  uint8Array(count: number): Uint8Array {
    return new Uint8Array(this.#buffer.buffer, this.#take(count, 1), count)
  }

  uint16Array(count: number): Uint16Array {
    return new Uint16Array(this.#buffer.buffer, this.#take(count * 2, 2), count)
  }

  uint32Array(count: number): Uint32Array {
    return new Uint32Array(this.#buffer.buffer, this.#take(count * 4, 4), count)
  }

  int32Array(count: number): Int32Array {
    return new Int32Array(this.#buffer.buffer, this.#take(count * 4, 4), count)
  }

  float64Array(count: number): Float64Array {
    return new Float64Array(this.#buffer.buffer, this.#take(count * 8, 8), count)
  }

  /** Back to an earlier length, to write something else there. */
  rewind(length: number): void {
    this.#length = length
  }

  /** A whole number from 0 to 2^53, in groups of 7 bits (LEB128). */
  count(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80)
      rest = Math.floor(rest / 0x80)
    }
    this.byte(rest)
  }

  float64(value: number): void {
    this.#buffer.writeDoubleLE(value, this.#take(8, 1))
  }

  /** A text with its length before it, the same bytes for the same text (tagged-format.ts). */
  countedText(text: string): void {
    if (text.length > SHORT_TEXT_UNITS || !this.#shortAscii(text)) this.#anyText(text)
  }

  /** Unit by unit, which is faster than a call into the engine. False, and nothing written, when it is not all ASCII. */
  #shortAscii(text: string): boolean {
    const start = this.#length
    this.byte(2 * text.length)
    const at = this.#take(text.length, 1)
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit >= 0x80) {
        this.#length = start
        return false
      }
      this.#buffer[at + i] = unit
    }
    return true
  }

  #anyText(text: string): void {
    const wellFormed = text.isWellFormed()
    const sizeBytes = wellFormed ? Buffer.byteLength(text) : 2 * text.length
    this.count(2 * sizeBytes + (wellFormed ? 0 : 1))
    this.text(text, wellFormed ? 'utf8' : 'ucs2', sizeBytes)
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#take(bytes.length, 1)
    this.#buffer.set(bytes, at)
  }

  text(text: string, encoding: 'latin1' | 'utf8' | 'ucs2', sizeBytes: number): void {
    const at = this.#take(sizeBytes, 1)
    this.#buffer.write(text, at, sizeBytes, encoding)
  }

  pad(width: number): void {
    this.#take(0, width)
  }

  /** A copy of what was written. */
  copy(): Uint8Array {
    return new Uint8Array(this.#buffer.buffer.slice(0, this.#length))
  }

  #take(sizeBytes: number, width: number): number {
    const start = align(this.#length, width)
    const end = start + sizeBytes
    if (end > this.#buffer.length) this.#grow(end)
    for (let gap = this.#length; gap < start; gap++) this.#buffer[gap] = 0
    this.#length = end
    return start
  }

  #grow(needed: number): void {
    if (needed > BATCH_BYTES_MAX) {
      const details = { what: 'one batch of rows', bytes: needed, limitBytes: BATCH_BYTES_MAX }
      throw new ShoalError(
        'TOO_LARGE',
        details,
        `one batch of rows is larger than ${BATCH_BYTES_MAX} bytes: make elements smaller`,
      )
    }
    const wider = Buffer.alloc(Math.max(needed, this.#buffer.length * 2))
    wider.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = wider
  }
}
