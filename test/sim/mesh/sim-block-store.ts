import { createHash } from 'node:crypto'
import { below, pick } from '../../../src/base/index.ts'
import type { BlockId, Random } from '../../../src/base/index.ts'

/** What a store says of a block that it has, whole and durable. */
export interface SimBlock {
  bytes: Uint8Array
  /** What the writer said it is; the bytes may have rotted since. */
  sha256: string
}

export type StoreFault = 'DISK_FULL' | 'DISK_FAILED'

/** Planted bugs of a store. */
export interface StoreMutant {
  /** Says "durable" before it is. */
  acksBeforeSync?: boolean
  /** Hands out what the disk gives, whatever the checksum. */
  readsUnverified?: boolean
}

/**
 * The blocks of one peer on a disk with faults: what was not synced may be gone or torn after a crash, bits rot, space
 * ends, everything can be lost. As the real store it checks each block against its checksum before it gives it out.
 */
export class SimBlockStore {
  readonly #durable = new Map<BlockId, SimBlock>()
  /** Written, but not synced: in the order of writing. */
  readonly #unsynced = new Map<BlockId, SimBlock>()
  readonly #hashes = new WeakMap<SimBlock, string>()
  readonly #mutant: StoreMutant
  fault: StoreFault | undefined

  constructor(mutant: StoreMutant = {}) {
    this.#mutant = mutant
  }

  /** @returns whether the caller must wait for `sync` before it may call the block durable */
  write(blockId: BlockId, block: SimBlock): 'written' | 'durable' | StoreFault {
    if (this.fault !== undefined) return this.fault
    this.#unsynced.set(blockId, { bytes: block.bytes.slice(), sha256: block.sha256 })
    return this.#mutant.acksBeforeSync === true ? 'durable' : 'written'
  }

  /** Makes it durable under its name, as write, fsync, rename, fsync of the directory do. */
  sync(blockId: BlockId): boolean {
    const block = this.#unsynced.get(blockId)
    if (block === undefined || this.fault === 'DISK_FAILED') return false
    this.#unsynced.delete(blockId)
    this.#durable.set(blockId, block)
    return true
  }

  has(blockId: BlockId): boolean {
    return this.#durable.has(blockId) || this.#visibleUnsynced(blockId) !== undefined
  }

  /** `corrupt` when the bytes are not those that were written. */
  read(blockId: BlockId): SimBlock | 'missing' | 'corrupt' {
    const block = this.#visibleUnsynced(blockId) ?? this.#durable.get(blockId)
    if (block === undefined) return 'missing'
    if (this.#mutant.readsUnverified === true) return block
    return sha256Of(block.bytes) === block.sha256 ? block : 'corrupt'
  }

  list(): BlockId[] {
    return [...this.#durable.keys()]
  }

  delete(blockId: BlockId): boolean {
    return this.#durable.delete(blockId)
  }

  /** As an observer outside sees the platter: bytes that would survive a crash now and are those that were written. */
  isGood(blockId: BlockId, written: string | undefined): boolean {
    const block = this.#durable.get(blockId)
    if (block === undefined) return false
    let sha256 = this.#hashes.get(block)
    // Stored blocks are never changed in place, so what was computed once stays true.
    if (sha256 === undefined) this.#hashes.set(block, (sha256 = sha256Of(block.bytes)))
    return sha256 === block.sha256 && sha256 === written
  }

  // ---- Faults

  /** Of what was not synced some reached the platter, the last of it perhaps in part. */
  crash(random: Random): void {
    for (const [blockId, block] of this.#unsynced) {
      const fate = random.next()
      if (fate < 0.3) this.#durable.set(blockId, block)
      else if (fate < 0.5 && !this.#durable.has(blockId)) {
        const bytes = block.bytes.slice(0, below(random, block.bytes.length + 1))
        this.#durable.set(blockId, { bytes, sha256: block.sha256 })
      }
    }
    this.#unsynced.clear()
  }

  flip(blockId: BlockId, random: Random): void {
    const block = this.#durable.get(blockId)
    if (block === undefined || block.bytes.length === 0) return
    const bytes = block.bytes.slice()
    const at = below(random, bytes.length)
    bytes[at] = bytes[at]! ^ (1 << below(random, 8))
    this.#durable.set(blockId, { bytes, sha256: block.sha256 })
  }

  wipe(): void {
    this.#durable.clear()
    this.#unsynced.clear()
  }

  any(random: Random): BlockId | undefined {
    return pick(random, this.list())
  }

  /** A store that acknowledges too early also reads back what it only holds in memory. */
  #visibleUnsynced(blockId: BlockId): SimBlock | undefined {
    return this.#mutant.acksBeforeSync === true ? this.#unsynced.get(blockId) : undefined
  }
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
