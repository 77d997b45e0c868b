import { align, malformed } from './batch-format.ts'

/** The last of eight groups of 7 bits; nothing counted here is larger. */
const COUNT_SCALE_MAX = 0x80 ** 7

/** Reads one batch with every length checked against its end. Positions are relative to the batch's start. */
export class BatchReader {
  readonly #bytes: Buffer
  /** The batch lies in memory that threads share. */
  readonly isShared: boolean
  #position: number
  readonly #end: number

  /** @param bytes The batch alone, starting at a multiple of 8 of its buffer. */
  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.isShared = bytes.buffer instanceof SharedArrayBuffer
    this.#position = position
    this.#end = bytes.byteLength
  }

  get remainingBytes(): number {
    return this.#end - this.#position
  }

  byte(): number {
    return this.#bytes[this.#take(1, 1)]!
  }

  uint16(): number {
    return this.#bytes.readUInt16LE(this.#take(2, 2))
  }

  uint32(): number {
    return this.#bytes.readUInt32LE(this.#take(4, 4))
  }

  int32Array(count: number): Int32Array {
    return new Int32Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#take(count * 4, 4), count)
  }

  float64Array(count: number): Float64Array {
    return new Float64Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#take(count * 8, 8), count)
  }

  /** Never shared memory: see `numbers` in decode-column.ts. */
  uint8Array(count: number): Uint8Array {
    const at = this.#bytes.byteOffset + this.#take(count, 1)
    const values = new Uint8Array(this.#bytes.buffer, at, count)
    return this.isShared ? values.slice() : values
  }

  /** Whole numbers of 1, 2 or 4 bytes each, never in shared memory. */
  lengths(width: number, count: number): Uint8Array | Uint16Array | Uint32Array {
    if (width === 1) return this.uint8Array(count)
    if (width !== 2 && width !== 4) throw malformed(`lengths of ${width} bytes`)
    const at = this.#bytes.byteOffset + this.#take(count * width, width)
    const values =
      width === 2
        ? new Uint16Array(this.#bytes.buffer, at, count)
        : new Uint32Array(this.#bytes.buffer, at, count)
    return this.isShared ? values.slice() : values
  }

  latin1(sizeBytes: number): string {
    const at = this.#take(sizeBytes, 1)
    return this.#bytes.toString('latin1', at, at + sizeBytes)
  }

  utf8(sizeBytes: number): string {
    const at = this.#take(sizeBytes, 1)
    return this.#bytes.toString('utf8', at, at + sizeBytes)
  }

  utf16(sizeBytes: number): string {
    const at = this.#take(sizeBytes, 1)
    return this.#bytes.toString('ucs2', at, at + sizeBytes)
  }

  /** What ByteWriter.count writes. */
  count(): number {
    let value = 0
    for (let scale = 1; scale <= COUNT_SCALE_MAX; scale *= 0x80) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    throw malformed('a number without end')
  }

  /** How many things of at least a byte each follow. */
  countOfRest(): number {
    const value = this.count()
    if (value > this.remainingBytes) throw malformed(`${value} values in ${this.remainingBytes} bytes`)
    return value
  }

  float64(): number {
    return this.#bytes.readDoubleLE(this.#take(8, 1))
  }

  /** What ByteWriter.countedText writes. */
  countedText(): string {
    const size = this.count()
    const sizeBytes = Math.floor(size / 2)
    return size % 2 === 0 ? this.utf8(sizeBytes) : this.utf16(sizeBytes)
  }

  /** A copy, so that nothing built from it can reach into the batch. */
  copy(sizeBytes: number): Buffer {
    const at = this.#take(sizeBytes, 1)
    return Buffer.from(this.#bytes.subarray(at, at + sizeBytes))
  }

  #take(sizeBytes: number, width: number): number {
    const start = align(this.#position, width)
    if (start + sizeBytes > this.#end)
      throw malformed(`a column ends ${start + sizeBytes - this.#end} bytes too late`)
    this.#position = start + sizeBytes
    return start
  }
}
