import { invariant, type PeerId } from '../base/index.ts'
import { HolderGroups, type HolderGroup } from './holder-groups.ts'
import type { BlockRecord } from './namespace-nodes.ts'
import type { ReplicaCounts } from './namespace-types.ts'
import { slotOf } from './ring.ts'

/** All blocks by slot and by who holds them: those of visible files, of snapshots and of open writes. */
export class BlockIndex {
  readonly #slotCount: number
  readonly #slots = new Map<number, Set<BlockRecord>>()
  readonly #groups = new HolderGroups()

  constructor(slotCount: number) {
    this.#slotCount = slotCount
  }

  slotOf(block: BlockRecord): number {
    return slotOf(block.fileId, block.index, this.#slotCount)
  }

  /** For a block that is to be added. */
  groupOf(holders: readonly PeerId[]): HolderGroup {
    return this.#groups.take(holders)
  }

  add(block: BlockRecord): void {
    const slot = this.slotOf(block)
    const blocks = this.#slots.get(slot)
    if (blocks === undefined) this.#slots.set(slot, new Set([block]))
    else blocks.add(block)
  }

  delete(block: BlockRecord): void {
    const slot = this.slotOf(block)
    const blocks = this.#slots.get(slot)
    invariant(blocks?.delete(block) === true, 'a block that goes was there')
    if (blocks.size === 0) this.#slots.delete(slot)
    this.#groups.release(block.holders)
  }

  /** Counts a block among those that are to have `replication` copies, or no longer. */
  show(block: BlockRecord, replication: number, sign: 1 | -1): void {
    this.#groups.show(block.holders, this.slotOf(block), replication, sign)
  }

  /** @param replication of a block that is counted; undefined for one of an open write. */
  setHolders(block: BlockRecord, holders: readonly PeerId[], replication: number | undefined): void {
    if (replication !== undefined) this.show(block, replication, -1)
    const before = block.holders
    block.holders = this.#groups.take(holders)
    this.#groups.release(before)
    if (replication !== undefined) this.show(block, replication, 1)
  }

  inSlot(slot: number): Iterable<BlockRecord> {
    return this.#slots.get(slot) ?? []
  }

  slots(): number[] {
    return [...this.#slots.keys()].sort((a, b) => a - b)
  }

  counts(live: ReadonlySet<PeerId>): ReplicaCounts {
    return this.#groups.counts(live)
  }

  /** Blocks of groups that lack living holders, the worst first; also those of open writes, and of files that want less. */
  *lacking(live: ReadonlySet<PeerId>): Generator<{ block: BlockRecord; holders: number }> {
    for (const { group, holders } of this.#groups.lacking(live)) {
      for (const slot of group.slots.keys()) {
        for (const block of this.inSlot(slot)) if (block.holders === group) yield { block, holders }
      }
    }
  }

  clear(): void {
    this.#slots.clear()
    this.#groups.clear()
  }

  /**
   * @param owned all blocks that files, snapshots and open writes have, and the copies that those of files and
   * snapshots want.
   */
  assertInvariants(owned: ReadonlyMap<BlockRecord, number | undefined>): void {
    const seen = new Map<HolderGroup, { uses: number; shown: number }>()
    let indexed = 0
    for (const [slot, blocks] of this.#slots) {
      invariant(blocks.size > 0, `slot ${slot} is listed for a block`)
      for (const block of blocks) {
        invariant(owned.has(block), 'an indexed block is owned')
        invariant(this.slotOf(block) === slot, 'a block is in its slot')
        const { peers } = block.holders
        invariant(peers.length > 0, 'a block has a holder')
        invariant(new Set(peers).size === peers.length, 'a holder holds a block once')
        const counted = seen.get(block.holders) ?? { uses: 0, shown: 0 }
        counted.uses++
        if (owned.get(block) !== undefined) counted.shown++
        seen.set(block.holders, counted)
        indexed++
      }
    }
    invariant(indexed === owned.size, 'every block is indexed once')
    this.#groups.assertInvariants(seen)
  }
}
