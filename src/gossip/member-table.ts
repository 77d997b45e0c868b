import { below } from '../base/index.ts'
import type { PeerId, Random } from '../base/index.ts'
import { DIGEST_MAX, MEMBER_STATES, UPDATES_BYTES, UPDATES_MAX } from './messages.ts'
import type { DigestEntry, MemberInfo, MemberState, MemberUpdate } from './messages.ts'
import { estimatedBytes } from './member-rumours.ts'

/** What this peer believes of one member. */
export interface Member extends MemberInfo {
  peerId: PeerId
  /** Raised only by the member itself, to refute what is said of it. */
  incarnation: number
  state: MemberState
}

export interface MemberEntry {
  readonly peerId: PeerId
  incarnation: number
  state: MemberState
  info: MemberInfo
  /** Peers whose own probe of this incarnation failed; empty unless suspect or dead. */
  accusers: PeerId[]
  /** When it entered its state. */
  sinceMs: number
}

export interface Version {
  incarnation: number
  state: MemberState
}

export interface Slice {
  after: string
  upTo: string
}

export interface Difference {
  updates: MemberUpdate[]
  wanted: PeerId[]
  /** Not all updates fit: there is something to tell about ids after the last of them. */
  more: boolean
}

const RANK: Record<MemberState, number> = { alive: 0, suspect: 1, dead: 2, left: 3 }

/** Greater than zero when `a` is newer than `b`: by incarnation, then by state. A total order, so merging converges. */
export function compareVersions(a: Version, b: Version): number {
  return a.incarnation - b.incarnation || RANK[a.state] - RANK[b.state]
}

/** All members this peer has heard of, itself included, and what of them to tell another peer. */
export class MemberTable {
  readonly #entries = new Map<PeerId, MemberEntry>()

  get size(): number {
    return this.#entries.size
  }

  get(peer: PeerId): MemberEntry | undefined {
    return this.#entries.get(peer)
  }

  set(entry: MemberEntry): void {
    this.#entries.set(entry.peerId, entry)
  }

  delete(peer: PeerId): void {
    this.#entries.delete(peer)
  }

  values(): IterableIterator<MemberEntry> {
    return this.#entries.values()
  }

  /** Alive and suspect ones, without `except`. */
  live(except: PeerId): PeerId[] {
    const peers: PeerId[] = []
    for (const entry of this.#entries.values()) {
      if ((entry.state === 'alive' || entry.state === 'suspect') && entry.peerId !== except)
        peers.push(entry.peerId)
    }
    return peers
  }

  inState(state: MemberState): PeerId[] {
    return [...this.#entries.values()].filter(entry => entry.state === state).map(entry => entry.peerId)
  }

  /** The versions of all members, or of a random slice of them when they are more than one message may hold. */
  digest(random: Random): { slice: Slice; digest: DigestEntry[] } {
    const peers = [...this.#entries.keys()].sort()
    if (peers.length <= DIGEST_MAX) return this.#digestOf(peers, '', '')
    const start = below(random, peers.length)
    return this.digestAfter(start === 0 ? '' : peers[start - 1]!)
  }

  /** The versions of the members that come next after this id. */
  digestAfter(after: string): { slice: Slice; digest: DigestEntry[] } {
    const peers = [...this.#entries.keys()].filter(peer => peer > after).sort()
    const chosen = peers.slice(0, DIGEST_MAX)
    return this.#digestOf(chosen, after, peers.length > DIGEST_MAX ? chosen.at(-1)! : '')
  }

  #digestOf(peers: readonly PeerId[], after: string, upTo: string): { slice: Slice; digest: DigestEntry[] } {
    const digest = peers.map((peer): DigestEntry => {
      const entry = this.#entries.get(peer)!
      return [peer, entry.incarnation, RANK[entry.state]]
    })
    return { slice: { after, upTo }, digest }
  }

  /** What the sender of the digest lacks, within the size of one message, and what it has that is newer than here. */
  difference(slice: Slice, digest: readonly DigestEntry[]): Difference {
    const told = new Map<PeerId, DigestEntry>(digest.map(entry => [entry[0], entry]))
    const newer: PeerId[] = []
    for (const entry of this.#entries.values()) {
      const { peerId } = entry
      if (peerId <= slice.after || (slice.upTo !== '' && peerId > slice.upTo)) continue
      const theirs = told.get(peerId)
      if (theirs === undefined || compareVersions(entry, versionOf(theirs)) > 0) newer.push(peerId)
    }
    const wanted: PeerId[] = []
    for (const theirs of told.values()) {
      const mine = this.#entries.get(theirs[0])
      if (mine === undefined || compareVersions(versionOf(theirs), mine) > 0) wanted.push(theirs[0])
    }
    return { ...this.records(newer.sort()), wanted }
  }

  /** Full records of those peers, as many as fit into one message. */
  records(peers: readonly PeerId[]): { updates: MemberUpdate[]; more: boolean } {
    const updates: MemberUpdate[] = []
    let bytes = 0
    for (const peer of peers) {
      const entry = this.#entries.get(peer)
      if (entry === undefined) continue
      const update = updateOf(entry, true)
      bytes += estimatedBytes(update)
      if (updates.length > 0 && (updates.length === UPDATES_MAX || bytes > UPDATES_BYTES))
        return { updates, more: true }
      updates.push(update)
    }
    return { updates, more: false }
  }
}

function versionOf([, incarnation, rank]: DigestEntry): Version {
  return { incarnation, state: MEMBER_STATES[rank]! }
}

export function updateOf(entry: MemberEntry, withInfo: boolean): MemberUpdate {
  const { peerId, incarnation, state, accusers, info } = entry
  const update: MemberUpdate = { peerId, incarnation, state, accusers: [...accusers] }
  if (withInfo || state === 'alive') update.info = info
  return update
}

export function memberOf(entry: MemberEntry): Member {
  const { peerId, incarnation, state, info } = entry
  return { peerId, incarnation, state, ...info }
}
