import { isAscii } from 'node:buffer'
import { ENGINE } from './config.ts'
import type { MemoryHolding } from './task-memory.ts'

const NEWLINE = 0x0a

/** Where a split of a block begins and ends lines: [start, end). */
export interface LineRange {
  start: number
  end: number
}

/** The first byte to read: the byte before the split tells whether a line begins at its start. */
export function firstByteOf(range: LineRange): number {
  return range.start === 0 ? 0 : range.start - 1
}

/**
 * Turns the bytes of a block, in chunks of any size, into text of whole lines, in pieces of about 64 KiB. A line belongs
 * to the range in which it begins: the range starts behind the first newline at or after `start - 1` and goes on to the
 * first newline at or after `end - 1`, or the end of the block.
 * Invalid UTF-8 becomes U+FFFD. Every piece but the last of a block ends with a newline.
 */
export class TextLines {
  readonly #range: LineRange
  readonly #memory: MemoryHolding
  /** Position of the next pushed byte in the block. */
  #position: number
  #skipping: boolean
  #done = false
  /** Bytes of a line that has not ended yet. */
  #open: Buffer[] = []
  #openBytes = 0

  /** Push the bytes from `firstByteOf(range)` on. */
  constructor(range: LineRange, memory: MemoryHolding) {
    this.#range = range
    this.#memory = memory
    this.#position = firstByteOf(range)
    this.#skipping = range.start > 0
    this.#done = range.start >= range.end
  }

  /** True once no further byte matters. */
  get done(): boolean {
    return this.#done
  }

  *push(chunk: Uint8Array): Generator<string, void, undefined> {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const chunkStart = this.#position
    this.#position += bytes.length
    if (this.#done) return
    let start = 0
    if (this.#skipping) {
      const newline = bytes.indexOf(NEWLINE)
      if (newline < 0) return
      start = newline + 1
      this.#skipping = false
      if (chunkStart + start >= this.#range.end) {
        this.#done = true
        return
      }
    }
    // The last line of the range holds its last byte; the newline that ends it may stand right there.
    const last = Math.max(this.#range.end - 1 - chunkStart, start)
    if (last < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, last)
      if (newline >= 0) {
        bytes = bytes.subarray(0, newline + 1)
        this.#done = true
      }
    }
    yield* this.#cut(bytes, start)
  }

  /** The line that the block ends without ending. */
  *end(): Generator<string, void, undefined> {
    if (this.#openBytes > 0) yield decode(this.#closeWith(Buffer.alloc(0)))
  }

  *#cut(bytes: Buffer, from: number): Generator<string, void, undefined> {
    let start = from
    if (this.#openBytes > 0) {
      const newline = bytes.indexOf(NEWLINE, start)
      if (newline < 0) {
        this.#keep(bytes.subarray(start))
        return
      }
      yield decode(this.#closeWith(bytes.subarray(start, newline + 1)))
      start = newline + 1
    }
    while (start < bytes.length) {
      const end = cutAfter(bytes, start)
      if (end === 0) {
        this.#keep(bytes.subarray(start))
        return
      }
      yield decode(bytes.subarray(start, end))
      start = end
    }
  }

  /** Copies, because whoever gave the chunk may use its memory again. */
  #keep(bytes: Buffer): void {
    this.#open.push(Buffer.from(bytes))
    this.#openBytes += bytes.length
    this.#memory.resize(this.#openBytes)
  }

  #closeWith(bytes: Buffer): Buffer {
    const line = Buffer.concat([...this.#open, bytes])
    this.#open = []
    this.#openBytes = 0
    this.#memory.resize(0)
    return line
  }
}

/** The end of the last line that ends within 64 KiB, else of the first one at all; 0 when none does. */
function cutAfter(bytes: Buffer, start: number): number {
  const limit = start + ENGINE.textBlockBytes
  if (limit < bytes.length) {
    const newline = bytes.lastIndexOf(NEWLINE, limit - 1)
    return newline >= start ? newline + 1 : bytes.indexOf(NEWLINE, limit) + 1
  }
  const newline = bytes.lastIndexOf(NEWLINE)
  return newline >= start ? newline + 1 : 0
}

/** Decoding ASCII as Latin-1 is a copy. */
function decode(bytes: Buffer): string {
  return bytes.toString(isAscii(bytes) ? 'latin1' : 'utf8')
}
