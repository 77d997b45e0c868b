import type { AbortOptions, BlockId, ShoalError } from '../base/index.ts'

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

export interface BlockVerifyOptions extends AbortOptions {
  /** Awaited after each piece was read, with its length: whoever verifies in the background waits here. */
  pace?: (bytes: number) => Promise<void>
}

export interface StoreUsage {
  blocks: number
  /** Bytes of the blocks, without their checksums. */
  usedBytes: number
  /** Free bytes of the disk, before the reserve is taken off. */
  freeBytes: number
}

/** A block came (with its size) or went. */
export type StoreListener = (blockId: BlockId, sizeBytes: number | undefined) => void

/**
 * The blocks of one peer. A block is there whole and durable, or not at all.
 * Errors: DISK_FULL (no space, or the reserve would be touched), DISK_FAILED (the disk said no), CORRUPT_REPLICA
 * (bytes differ from their checksums), NOT_FOUND (no such block), and the signal's reason.
 * When the disk does not work at all (`failure`), the store holds nothing any more and takes nothing.
 */
export interface BlockStore extends AsyncDisposable {
  /**
   * Writes all of `source`, resolves when data and checksums are on the disk for good. The chunks must not change
   * after they were yielded. A block that is already there is replaced at once by the new bytes (that is how a
   * corrupt replica is mended), and what was put aside of it is deleted. Ends the source early (`return()`) when it fails.
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
  /** Reads everything and compares chunk checksums and SHA-256; rejects with CORRUPT_REPLICA, NOT_FOUND or DISK_FAILED. */
  verify(blockId: BlockId, options?: BlockVerifyOptions): Promise<StoredBlock>
  /**
   * When the block was written or last verified, in milliseconds of the wall clock; survives a restart. Undefined when there
   * is no such block.
   */
  verifiedMs(blockId: BlockId): number | undefined
  /** False when there was nothing to delete. Readers that have it open read on. */
  delete(blockId: BlockId): Promise<boolean>
  /** Puts a bad block aside: it is there no more, but its bytes are kept until `write` or `release`. False when there is none. */
  quarantine(blockId: BlockId): Promise<boolean>
  /** What was put aside; after a restart too. */
  quarantined(): BlockId[]
  /** Deletes what was put aside of the block. */
  release(blockId: BlockId): Promise<void>
  usage(): Promise<StoreUsage>
  /** Reads and writes under way for others than `verify`. */
  busy(): number
  /** Tells of every block that is there, at once, and then of each that comes or goes. */
  onChange(listener: StoreListener): void
  /** Tries the disk where that block is or would be: false when it does not work; `failure` says so from then on. */
  probe(blockId: BlockId): Promise<boolean>
  readonly failure: ShoalError | undefined
  onFailure(listener: (failure: ShoalError) => void): void
  /** Where the data file lies, for readers in worker threads (`readBlockFile`); the file may be gone by then. */
  pathOf(blockId: BlockId): string
}
