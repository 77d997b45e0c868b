import { asPeerId, invariant, type PeerId } from '../base/index.ts'
import type { ReplicaCounts } from './namespace-types.ts'
import { ownText } from './packed-text.ts'

/** Blocks that lie at the same peers. There are about as many groups as slots, however many blocks. */
export interface HolderGroup {
  readonly key: string
  readonly peers: readonly PeerId[]
  /** Blocks of the group, of open writes too. */
  uses: number
  /** Visible blocks by copies wanted. */
  readonly shown: Map<number, number>
  /** Visible blocks by slot. */
  readonly slots: Map<number, number>
}

/** The sets of holders that there are, counted, so that nobody must look at every block to know how safe they are. */
export class HolderGroups {
  readonly #groups = new Map<string, HolderGroup>()
  /** One string per peer instead of one per mention: ids come from decoded messages. */
  readonly #peers = new Map<PeerId, PeerId>()

  /** The group of these peers, one use more. */
  take(peers: readonly PeerId[]): HolderGroup {
    const key = peers.join(' ')
    let group = this.#groups.get(key)
    if (group === undefined) {
      const own = peers.map(peer => this.#own(peer))
      group = { key: ownText(key), peers: own, uses: 0, shown: new Map(), slots: new Map() }
      this.#groups.set(group.key, group)
    }
    group.uses++
    return group
  }

  release(group: HolderGroup): void {
    group.uses--
    if (group.uses === 0) this.#groups.delete(group.key)
  }

  show(group: HolderGroup, slot: number, replication: number, sign: 1 | -1): void {
    tally(group.shown, replication, sign)
    tally(group.slots, slot, sign)
  }

  counts(live: ReadonlySet<PeerId>): ReplicaCounts {
    const counts: ReplicaCounts = { underReplicated: 0, missing: 0, short: 0 }
    for (const group of this.#groups.values()) {
      const holders = livingOf(group, live)
      for (const [replication, blocks] of group.shown) {
        if (holders >= replication) continue
        if (holders === 0) counts.missing += blocks
        if (holders < Math.min(replication, live.size)) counts.underReplicated += blocks
        else counts.short += blocks
      }
    }
    return counts
  }

  /** Groups with too few living holders for some of their blocks, the worst first. */
  lacking(live: ReadonlySet<PeerId>): { group: HolderGroup; holders: number }[] {
    const found: { group: HolderGroup; holders: number }[] = []
    for (const group of this.#groups.values()) {
      const holders = livingOf(group, live)
      const lacks = group.shown.keys().some(replication => holders < Math.min(replication, live.size))
      if (lacks) found.push({ group, holders })
    }
    return found.sort((a, b) => a.holders - b.holders)
  }

  clear(): void {
    this.#groups.clear()
    this.#peers.clear()
  }

  /** @param seen uses by group and visible blocks by group, counted anew. */
  assertInvariants(seen: ReadonlyMap<HolderGroup, { uses: number; shown: number }>): void {
    invariant(seen.size === this.#groups.size, 'every group of holders is used')
    for (const [key, group] of this.#groups) {
      const counted = seen.get(group)
      const sum = (counts: ReadonlyMap<number, number>): number =>
        counts.values().reduce((total, count) => total + count, 0)
      invariant(group.key === key && counted?.uses === group.uses, `the uses of ${key} are counted`)
      invariant(counted.shown === sum(group.shown), `the visible blocks at ${key} are counted`)
      invariant(counted.shown === sum(group.slots), `the slots of the blocks at ${key} are counted`)
    }
  }

  #own(peer: PeerId): PeerId {
    let own = this.#peers.get(peer)
    if (own === undefined) this.#peers.set((own = asPeerId(ownText(peer))), own)
    return own
  }
}

function livingOf({ peers }: HolderGroup, live: ReadonlySet<PeerId>): number {
  return peers.reduce((count, peer) => count + (live.has(peer) ? 1 : 0), 0)
}

function tally(counts: Map<number, number>, key: number, sign: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + sign
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}
