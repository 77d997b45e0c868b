import { crc32 } from 'node:zlib'
import { RowEncoder } from '../codec/index.ts'
import type { SpillFile } from '../task.ts'
import type { MemoryHolding } from './task-memory.ts'

/** Encoded rows of a result, in memory or in a sealed file. */
export interface FinishedRows {
  rows: number
  sizeBytes: number
  checksum: number
  content: { bytes: Uint8Array } | { file: string }
}

/**
 * Rows that a task is to hand over. Encoded batches that it has no memory for go to a file; the bytes are the same either
 * way.
 */
export class ResultRows {
  readonly encoder = new RowEncoder()
  readonly #memory: MemoryHolding
  readonly #openKept: () => SpillFile
  #file: SpillFile | undefined
  #writtenBytes = 0
  #checksum = 0

  /** @param openKept Makes the file of a result that does not fit into memory. */
  constructor(memory: MemoryHolding, openKept: () => SpillFile) {
    this.#memory = memory
    this.#openKept = openKept
  }

  /** Counts what is held, and writes it where it is too much. */
  measure(): void {
    if (this.#memory.tryResize(this.encoder.heldBytes)) return
    this.#write()
    // The open batch stays: it is no more than a megabyte, but for huge rows.
    this.#memory.tryResize(0)
    this.#memory.hold(this.encoder.heldBytes)
  }

  #write(): void {
    this.#file ??= this.#openKept()
    const { spill } = this.#memory
    const chunk = this.encoder.take()
    this.#file.append(chunk)
    this.#writtenBytes += chunk.length
    this.#checksum = crc32(chunk, this.#checksum)
    spill.bytes += chunk.length
  }

  finish(): FinishedRows {
    const { rows } = this.encoder
    if (this.#file === undefined) {
      const bytes = this.encoder.finish()
      return { rows, sizeBytes: bytes.length, checksum: crc32(bytes), content: { bytes } }
    }
    this.encoder.flush()
    this.#write()
    const file = this.#file.seal()
    return { rows, sizeBytes: this.#writtenBytes, checksum: this.#checksum, content: { file } }
  }

  /** The attempt failed: nobody will take the file. */
  discard(): void {
    this.#file?.close()
  }
}
