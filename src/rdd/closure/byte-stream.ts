/** Writes numbers, strings and bytes, each value in one form only. */
export class ByteWriter {
  #buffer = new Uint8Array(1024)
  #view = new DataView(this.#buffer.buffer)
  #length = 0

  bytes(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#buffer[this.#length++] = value
  }

  boolean(value: boolean): void {
    this.byte(value ? 1 : 0)
  }

  /** A whole number from 0, in groups of 7 bits (LEB128). */
  count(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80)
      rest = Math.floor(rest / 0x80)
    }
    this.byte(rest)
  }

  /** IEEE 754; NaN always with the same bits. */
  number(value: number): void {
    this.#reserve(8)
    this.#view.setFloat64(this.#length, Number.isNaN(value) ? Number.NaN : value, true)
    this.#length += 8
  }

  /** UTF-8, or UTF-16 where lone surrogates would not survive that. */
  string(value: string): void {
    const wellFormed = value.isWellFormed()
    const bytes = Buffer.from(value, wellFormed ? 'utf8' : 'utf16le')
    this.boolean(wellFormed)
    this.blob(bytes)
  }

  blob(bytes: Uint8Array): void {
    this.count(bytes.length)
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  list<T>(items: readonly T[], write: (item: T) => void): void {
    this.count(items.length)
    for (const item of items) write(item)
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#buffer.length) return
    const larger = new Uint8Array(Math.max(needed, this.#buffer.length * 2))
    larger.set(this.#buffer)
    this.#buffer = larger
    this.#view = new DataView(larger.buffer)
  }
}

/** Reads what ByteWriter wrote. Throws RangeError on anything else; allocates no more than the input's length. */
export class ByteReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  byte(): number {
    const value = this.#bytes[this.#at]
    if (value === undefined) throw new RangeError('they end too early')
    this.#at++
    return value
  }

  boolean(): boolean {
    const value = this.byte()
    if (value > 1) throw new RangeError(`${value} is no boolean`)
    return value === 1
  }

  /** A number of things that take a byte each at the least, or an index into them. */
  count(): number {
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (value > this.#bytes.length)
        throw new RangeError(`${value} does not fit into ${this.#bytes.length} bytes`)
      if (byte < 0x80) return value
      if (scale > 0x10_0000_0000) throw new RangeError('a number without end')
    }
  }

  number(): number {
    const start = this.#take(8)
    return this.#bytes.readDoubleLE(start)
  }

  string(): string {
    const encoding = this.boolean() ? 'utf8' : 'utf16le'
    const length = this.count()
    const start = this.#take(length)
    return this.#bytes.toString(encoding, start, start + length)
  }

  /** A copy, so that it keeps nothing else alive and is aligned. */
  blob(): Uint8Array {
    const length = this.count()
    const start = this.#take(length)
    return new Uint8Array(this.#bytes.subarray(start, start + length))
  }

  list<T>(read: () => T): T[] {
    const length = this.count()
    const items: T[] = []
    for (let i = 0; i < length; i++) items.push(read())
    return items
  }

  end(): void {
    if (this.#at !== this.#bytes.length)
      throw new RangeError(`${this.#bytes.length - this.#at} bytes follow the end`)
  }

  #take(bytes: number): number {
    const start = this.#at
    if (start + bytes > this.#bytes.length) throw new RangeError('they end too early')
    this.#at += bytes
    return start
  }
}
