import { invariant, type BlockId, type PeerId } from '../base/index.ts'
import { copyDeadlineMs, type RepairOptions } from './config.ts'
import { copyKey } from './repair-copies.ts'

/** A check of the copy that stays, before another copy of the block goes. */
export interface Check {
  slot: number
  blockId: BlockId
  peer: PeerId
  sizeBytes: number
  sinceMs: number
}

/** Results kept in mind; beyond it the oldest is forgotten, and asked for anew. */
const FOUND_MAX = 65_536

/**
 * What holders found when they read their copies from end to end. The log's word is not enough to delete by: copies rot
 * unseen until somebody looks at them, and the one that is too many may be the only good one.
 */
export class RepairChecks {
  readonly #options: RepairOptions
  readonly #running = new Map<string, Check>()
  readonly #perPeer = new Map<PeerId, number>()
  /** Until when each copy counts as good; oldest first. */
  readonly #good = new Map<string, number>()
  /** Before which time a check that failed is not tried again. */
  readonly #waits = new Map<string, number>()

  constructor(options: RepairOptions) {
    this.#options = options
  }

  get runningCount(): number {
    return this.#running.size
  }

  running(): Check[] {
    return [...this.#running.values()]
  }

  isRunning(blockId: BlockId, peer: PeerId): boolean {
    return this.#running.has(copyKey(blockId, peer))
  }

  /** Read and found good not long ago, or written and verified. */
  isGood(blockId: BlockId, peer: PeerId, nowMs: number): boolean {
    return (this.#good.get(copyKey(blockId, peer)) ?? -Infinity) > nowMs
  }

  /** False when it has to wait: for others of that peer, or because it failed not long ago. */
  begin(check: Check, nowMs: number): boolean {
    const { copiesMax, copiesPerPeerMax, retryMs } = this.#options
    const { blockId, peer } = check
    const key = copyKey(blockId, peer)
    const ofPeer = this.#perPeer.get(peer) ?? 0
    if (this.#running.size >= copiesMax || ofPeer >= copiesPerPeerMax) return false
    if (nowMs < (this.#waits.get(key) ?? -Infinity)) return false
    this.#waits.set(key, nowMs + retryMs)
    this.#running.set(key, check)
    this.#perPeer.set(peer, ofPeer + 1)
    return true
  }

  /** Undefined when nobody waits for it any more. */
  settle(blockId: BlockId, peer: PeerId, good: boolean, nowMs: number): Check | undefined {
    const key = copyKey(blockId, peer)
    const check = this.#running.get(key)
    if (check === undefined) return undefined
    this.#running.delete(key)
    const left = (this.#perPeer.get(peer) ?? 1) - 1
    if (left === 0) this.#perPeer.delete(peer)
    else this.#perPeer.set(peer, left)
    if (good) {
      this.#waits.delete(key)
      this.written(blockId, peer, nowMs)
    }
    return check
  }

  /** The peer has just written the copy, read back what it wrote, and synced it. */
  written(blockId: BlockId, peer: PeerId, nowMs: number): void {
    const key = copyKey(blockId, peer)
    this.#good.delete(key)
    this.#good.set(key, nowMs + this.#options.checkedForMs)
    for (const [oldest] of this.#good) {
      if (this.#good.size <= FOUND_MAX) break
      this.#good.delete(oldest)
    }
  }

  /** Running checks that nobody reported on in time. */
  overdue(nowMs: number): Check[] {
    const { effectTimeoutMs } = this.#options
    return this.running().filter(
      ({ sinceMs, sizeBytes }) => nowMs - sinceMs > effectTimeoutMs + copyDeadlineMs(sizeBytes),
    )
  }

  /** Drops what counts no more. */
  forget(nowMs: number): void {
    for (const [key, untilMs] of this.#good) {
      if (untilMs > nowMs) break
      this.#good.delete(key)
    }
    for (const [key, untilMs] of this.#waits) if (untilMs <= nowMs) this.#waits.delete(key)
  }

  assertInvariants(): void {
    const { copiesMax, copiesPerPeerMax } = this.#options
    invariant(this.#running.size <= copiesMax, 'checks are bounded')
    for (const count of this.#perPeer.values())
      invariant(count > 0 && count <= copiesPerPeerMax, 'checks at one peer are bounded')
  }
}
