import { invariant } from '../base/index.ts'
import type { PeerId } from '../base/index.ts'
import { estimatedBytes, MemberRumours } from './member-rumours.ts'
import { compareVersions } from './member-table.ts'
import type { MemberUpdate } from './messages.ts'

/** A subset of `MembershipOptions`. */
export interface NewsOptions {
  publishIntervalMs: number
  publishBatchesMax: number
  batchBytes: number
  retransmitFactor: number
}

/**
 * What this peer has to say about members, on two ways: everything new rides on pings and acks (`MemberRumours`), and what
 * this peer found out itself is published as well, gathered for `publishIntervalMs`. Bounded by the member table: at
 * most one update of each kind per member, the newest.
 */
export class MemberNews {
  readonly #options: NewsOptions
  readonly #rumours = new MemberRumours()
  readonly #unpublished = new Map<PeerId, MemberUpdate>()
  #publishAtMs: number

  constructor(options: NewsOptions, nowMs: number) {
    this.#options = options
    this.#publishAtMs = nowMs
  }

  /** Heard from others: passed on with pings only, for whoever found it out has published it. */
  passOn(update: MemberUpdate): void {
    this.#rumours.add(update)
  }

  /** It may be new to a few: told once. */
  mention(update: MemberUpdate): void {
    this.#rumours.add(update, true)
  }

  /** Found out here. */
  announce(update: MemberUpdate): void {
    this.#rumours.add(update)
    this.#unpublished.set(update.peerId, update)
  }

  /** Others say the same or more already: when many find out the same thing at the same time, few have to publish it. */
  heard(update: MemberUpdate): void {
    const mine = this.#unpublished.get(update.peerId)
    if (mine === undefined || compareVersions(update, mine) < 0) return
    if (mine.accusers.every(accuser => update.accusers.includes(accuser)))
      this.#unpublished.delete(update.peerId)
  }

  forget(peer: PeerId): void {
    this.#rumours.drop(peer)
    this.#unpublished.delete(peer)
  }

  /** Batches to publish now; empty before their time. */
  due(nowMs: number): MemberUpdate[][] {
    return nowMs < this.#publishAtMs ? [] : this.publishNow(nowMs)
  }

  publishNow(nowMs: number): MemberUpdate[][] {
    const { publishIntervalMs, publishBatchesMax, batchBytes } = this.#options
    this.#publishAtMs = nowMs + publishIntervalMs
    const batches: MemberUpdate[][] = []
    while (batches.length < publishBatchesMax && this.#unpublished.size > 0) {
      const updates: MemberUpdate[] = []
      let bytes = 0
      for (const update of this.#unpublished.values()) {
        const size = estimatedBytes(update)
        if (bytes > 0 && bytes + size > batchBytes) break
        bytes += size
        updates.push(update)
        this.#unpublished.delete(update.peerId)
      }
      batches.push(updates)
    }
    return batches
  }

  /**
   * What rides on a ping or ack.
   * @param first goes in any case, before all others
   * @param members in the table: news about one is told often enough to reach that many
   */
  ride(to: PeerId, first: readonly MemberUpdate[], members: number): MemberUpdate[] {
    const { retransmitFactor, batchBytes } = this.#options
    const reserved = first.reduce((bytes, update) => bytes + estimatedBytes(update), 0)
    const transmissions = retransmitFactor * Math.ceil(Math.log10(members + 1))
    const rumours = this.#rumours.take(batchBytes, reserved, transmissions)
    return [...first, ...rumours.filter(update => update.peerId !== to)]
  }

  assertInvariants(members: number): void {
    invariant(this.#rumours.size <= members, 'at most one rumour per member')
    invariant(this.#unpublished.size <= members, 'at most one unpublished update per member')
  }
}
