import type { AbortOptions, BlockId } from '../base/index.ts'

/** What a peer knows of a block on its disk. */
export interface StoredBlock {
  blockId: BlockId
  sizeBytes: number
  /** SHA-256 over the whole block, 64 hexadecimal digits, computed while it was written. */
  sha256: string
}

export interface BlockWriteOptions extends AbortOptions {
  /** What the block must turn out to be; anything else is refused with CORRUPT_REPLICA and leaves nothing. */
  expect?: { sizeBytes?: number; sha256?: string }
  /** Most bytes taken from the source; one more is refused with TOO_LARGE. @default blockBytesMax of the store */
  sizeBytesMax?: number
}

export interface BlockReadOptions extends AbortOptions {
  /** First byte. @default 0 */
  start?: number
  /** One past the last byte; past the end means to the end. @default the end */
  end?: number
}

export interface StoreUsage {
  blocks: number
  /** Bytes of the blocks, without their checksums. */
  usedBytes: number
  /** Free bytes of the disk, before the reserve is taken off. */
  freeBytes: number
}

/**
 * The blocks of one peer. A block is there whole and durable, or not at all.
 * Errors: DISK_FULL (no space, or the reserve would be touched), DISK_FAILED (the disk said no), CORRUPT_REPLICA
 * (bytes differ from their checksums), NOT_FOUND (no such block), and the signal's reason.
 */
export interface BlockStore extends AsyncDisposable {
  /**
   * Writes all of `source`, resolves when data and checksums are on the disk for good. The chunks must not change
   * after they were yielded. A block that is already there is replaced at once by the new bytes (that is how a
   * corrupt replica is mended). Ends the source early (`return()`) when it fails.
   */
  write(
    blockId: BlockId,
    source: AsyncIterable<Uint8Array>,
    options?: BlockWriteOptions,
  ): Promise<StoredBlock>
  /** Verified bytes; each chunk was checked before it is yielded. The chunks are the caller's to keep. */
  read(blockId: BlockId, options?: BlockReadOptions): AsyncIterable<Uint8Array>
  has(blockId: BlockId): boolean
  /** From the checksum file; undefined when there is no such block. */
  stat(blockId: BlockId): Promise<StoredBlock | undefined>
  list(): BlockId[]
  /** Reads everything and compares chunk checksums and SHA-256; rejects with CORRUPT_REPLICA or NOT_FOUND. */
  verify(blockId: BlockId, options?: AbortOptions): Promise<StoredBlock>
  /** False when there was nothing to delete. Readers that have it open read on. */
  delete(blockId: BlockId): Promise<boolean>
  usage(): Promise<StoreUsage>
  /** Where the data file lies, for readers in worker threads (`readBlockFile`); the file may be gone by then. */
  pathOf(blockId: BlockId): string
}
