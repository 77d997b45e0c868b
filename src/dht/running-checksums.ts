import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { CHUNK_BYTES, type BlockChecksums } from './block-file.ts'

/** Checksums of a block while its bytes come by in pieces of any size. */
export class RunningChecksums {
  readonly #hash = createHash('sha256')
  readonly #crcs: number[] = []
  #crc = 0
  sizeBytes = 0

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    for (let at = 0; at < bytes.length;) {
      const room = CHUNK_BYTES - (this.sizeBytes % CHUNK_BYTES)
      const part = bytes.subarray(at, at + room)
      this.#crc = crc32(part, this.#crc)
      this.sizeBytes += part.length
      at += part.length
      if (this.sizeBytes % CHUNK_BYTES === 0) this.#endChunk()
    }
  }

  finish(): BlockChecksums {
    if (this.sizeBytes % CHUNK_BYTES !== 0) this.#endChunk()
    const { sizeBytes } = this
    return {
      sizeBytes,
      sha256: this.#hash.digest('hex'),
      chunkBytes: CHUNK_BYTES,
      crcs: Uint32Array.from(this.#crcs),
    }
  }

  #endChunk(): void {
    this.#crcs.push(this.#crc)
    this.#crc = 0
  }
}
