import { invariant, type BlockId, type PeerId } from '../base/index.ts'
import { NAMESPACE_DEFAULTS } from './config.ts'
import type { ReportHolders } from './namespace-commands.ts'
import { copyKey } from './repair-copies.ts'
import type { HolderChange } from './repair-types.ts'

/**
 * What the log is to learn about holders, and the copies that are to go: first the log forgets the holder, then the peer may
 * delete. From the decision until then the copy counts for nothing.
 */
export class RepairReports {
  /** Holder changes still to be reported, in order. */
  #changes: HolderChange[] = []
  #underWay: readonly HolderChange[] = []
  /** Copies that should not be, from the decision until the peer has deleted its own: since when. */
  readonly #removals = new Map<string, number>()

  isGoing(blockId: BlockId, peer: PeerId): boolean {
    return this.#removals.has(copyKey(blockId, peer))
  }

  added(slot: number, blockId: BlockId, peer: PeerId): void {
    this.#changes.push({ slot, blockId, peer, what: 'add' })
  }

  remove(slot: number, blockId: BlockId, peer: PeerId, nowMs: number): void {
    this.#removals.set(copyKey(blockId, peer), nowMs)
    this.#changes.push({ slot, blockId, peer, what: 'remove' })
  }

  /** The peer was told to delete it. */
  dropping(blockId: BlockId, peer: PeerId, nowMs: number): void {
    this.#removals.set(copyKey(blockId, peer), nowMs)
  }

  settled(blockId: BlockId, peer: PeerId): void {
    this.#removals.delete(copyKey(blockId, peer))
  }

  /** The next command, of as many changes as one entry takes; undefined when there is nothing to report. */
  next(term: number | undefined): ReportHolders | undefined {
    if (this.#changes.length === 0) return undefined
    const byBlock = new Map<BlockId, ReportHolders['blocks'][number]>()
    let taken = 0
    for (const { blockId, peer, what } of this.#changes) {
      let block = byBlock.get(blockId)
      if (block === undefined) {
        if (byBlock.size >= NAMESPACE_DEFAULTS.blocksPerCommandMax) break
        byBlock.set(blockId, (block = { blockId }))
      }
      const peers = (block[what] ??= [])
      peers.push(peer)
      taken++
    }
    this.#underWay = this.#changes.splice(0, taken)
    return { type: 'report-holders', ...(term === undefined ? {} : { term }), blocks: [...byBlock.values()] }
  }

  /** What the command under way said, once it was applied. */
  accepted(): readonly HolderChange[] {
    const changes = this.#underWay
    this.#underWay = []
    return changes
  }

  /** It is said again. */
  refused(): void {
    this.#changes.unshift(...this.#underWay)
    this.#underWay = []
  }

  /** A removal that nobody reported on since then is no longer waited for. */
  expire(beforeMs: number): void {
    const unsettled = new Set(this.#unsettled().map(({ blockId, peer }) => copyKey(blockId, peer)))
    for (const [key, sinceMs] of this.#removals) {
      if (sinceMs < beforeMs && !unsettled.has(key)) this.#removals.delete(key)
    }
  }

  assertInvariants(isCopied: (blockId: BlockId, peer: PeerId) => boolean): void {
    for (const { blockId, peer, what } of this.#unsettled()) {
      const known = what === 'add' ? isCopied(blockId, peer) : this.isGoing(blockId, peer)
      invariant(known, 'a change to be reported is remembered until it was')
    }
  }

  #unsettled(): HolderChange[] {
    return [...this.#changes, ...this.#underWay]
  }
}
