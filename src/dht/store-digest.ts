import { asFileId, type BlockId } from '../base/index.ts'
import { parseBlockId } from './block-id.ts'
import { hashText, slotOf } from './ring.ts'

/** Stands for a set of blocks: two sets with the same digest are the same, but for one chance in 2^64. */
export interface SetDigest {
  count: number
  sizeBytes: number
  /** XOR of the members' hashes, two of 32 bits: adding and removing a member are the same operation. */
  xor: readonly [number, number]
}

const SEED = 0x51ab
const EMPTY: SetDigest = { count: 0, sizeBytes: 0, xor: [0, 0] }

/** Of a list. */
export function digestOf(blocks: Iterable<{ blockId: BlockId; sizeBytes: number }>): SetDigest {
  let digest = EMPTY
  for (const { blockId, sizeBytes } of blocks) digest = changed(digest, blockId, sizeBytes, 1)
  return digest
}

export function sameDigest(a: SetDigest, b: SetDigest): boolean {
  return a.count === b.count && a.sizeBytes === b.sizeBytes && a.xor[0] === b.xor[0] && a.xor[1] === b.xor[1]
}

/** The blocks of a store by slot, with a digest of each slot that is kept up to date with every block that comes or goes. */
export class StoreDigest {
  readonly #slotCount: number
  readonly #slots = new Map<number, Map<BlockId, number>>()
  readonly #digests = new Map<number, SetDigest>()

  constructor(slotCount: number) {
    this.#slotCount = slotCount
  }

  /** The block is there with this size, or not at all. */
  set(blockId: BlockId, sizeBytes: number | undefined): void {
    const name = parseBlockId(blockId)
    if (name === undefined) return
    const slot = slotOf(asFileId(name.fileId), name.index, this.#slotCount)
    const blocks = this.#slots.get(slot) ?? new Map<BlockId, number>()
    const known = blocks.get(blockId)
    let digest = this.of(slot)
    if (known !== undefined) digest = changed(digest, blockId, known, -1)
    if (sizeBytes === undefined) blocks.delete(blockId)
    else {
      blocks.set(blockId, sizeBytes)
      digest = changed(digest, blockId, sizeBytes, 1)
    }
    if (blocks.size === 0) {
      this.#slots.delete(slot)
      this.#digests.delete(slot)
    } else {
      this.#slots.set(slot, blocks)
      this.#digests.set(slot, digest)
    }
  }

  of(slot: number): SetDigest {
    return this.#digests.get(slot) ?? EMPTY
  }

  /** Sizes by block id. */
  blocksIn(slot: number): ReadonlyMap<BlockId, number> {
    return this.#slots.get(slot) ?? new Map<BlockId, number>()
  }
}

function changed(digest: SetDigest, blockId: BlockId, sizeBytes: number, sign: 1 | -1): SetDigest {
  return {
    count: digest.count + sign,
    sizeBytes: digest.sizeBytes + sign * sizeBytes,
    xor: [digest.xor[0] ^ hashText(blockId), digest.xor[1] ^ hashText(blockId, SEED)],
  }
}
