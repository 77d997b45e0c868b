import { below } from '../base/index.ts'
import type { PeerId, Random } from '../base/index.ts'
import { DIGEST_MAX, GONE_MS_MAX, MEMBER_STATES, UPDATES_BYTES, UPDATES_MAX } from './messages.ts'
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
  /** Changed by the table alone, as the state is. */
  incarnation: number
  state: MemberState
  info: MemberInfo
  /** Peers whose own probe of this incarnation failed; empty unless suspect or dead. */
  accusers: PeerId[]
  /** When it entered its state. */
  sinceMs: number
  /** When this peer looks at a suspect again. */
  checkAtMs: number
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
  /** The same by state: what is done each tick must not look at every member of a large mesh. */
  readonly #byState: Record<MemberState, Set<MemberEntry>> = {
    alive: new Set(),
    suspect: new Set(),
    dead: new Set(),
    left: new Set(),
  }
  /** Undefined after a change. */
  #hash: number | undefined

  get size(): number {
    return this.#entries.size
  }

  /** Alive and suspect ones. */
  get liveCount(): number {
    return this.#byState.alive.size + this.#byState.suspect.size
  }

  get(peer: PeerId): MemberEntry | undefined {
    return this.#entries.get(peer)
  }

  /** A new one. */
  add(entry: MemberEntry): void {
    this.#entries.set(entry.peerId, entry)
    this.#byState[entry.state].add(entry)
    this.#hash = undefined
  }

  delete(entry: MemberEntry): void {
    this.#entries.delete(entry.peerId)
    this.#byState[entry.state].delete(entry)
    this.#hash = undefined
  }

  enter(entry: MemberEntry, state: MemberState, sinceMs: number): void {
    this.#byState[entry.state].delete(entry)
    entry.state = state
    entry.sinceMs = sinceMs
    this.#byState[state].add(entry)
    this.#hash = undefined
  }

  raise(entry: MemberEntry, incarnation: number): void {
    entry.incarnation = incarnation
    this.#hash = undefined
  }

  values(): IterableIterator<MemberEntry> {
    return this.#entries.values()
  }

  /** Alive and suspect ones, without `except`. */
  live(except: PeerId): PeerId[] {
    return [...this.inState('alive'), ...this.inState('suspect')].filter(peer => peer !== except)
  }

  isLive(peer: PeerId): boolean {
    const state = this.#entries.get(peer)?.state
    return state === 'alive' || state === 'suspect'
  }

  inState(state: MemberState): PeerId[] {
    return Array.from(this.#byState[state], entry => entry.peerId)
  }

  entriesIn(state: MemberState): ReadonlySet<MemberEntry> {
    return this.#byState[state]
  }

  /** The dead or left one that has been so for the longest time. */
  longestGone(): MemberEntry | undefined {
    let longest: MemberEntry | undefined
    for (const state of ['dead', 'left'] as const) {
      for (const entry of this.#byState[state]) {
        if (longest === undefined || entry.sinceMs < longest.sinceMs) longest = entry
      }
    }
    return longest
  }

  /**
   * The same for two peers that believe the same of all whom they take for alive or suspect, whatever the order in which
   * they heard of them. Those gone are left out: they are forgotten here and there at different moments.
   */
  hash(): number {
    if (this.#hash !== undefined) return this.#hash
    let sum = 0
    for (const state of ['alive', 'suspect'] as const) {
      for (const entry of this.#byState[state]) sum = (sum + hashOf(entry)) % HASH_MODULUS
    }
    return (this.#hash = sum)
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
  difference(slice: Slice, digest: readonly DigestEntry[], nowMs: number): Difference {
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
    return { ...this.records(newer.sort(), nowMs), wanted }
  }

  /** Full records of those peers, as many as fit into one message. */
  records(peers: readonly PeerId[], nowMs: number): { updates: MemberUpdate[]; more: boolean } {
    const updates: MemberUpdate[] = []
    let bytes = 0
    for (const peer of peers) {
      const entry = this.#entries.get(peer)
      if (entry === undefined) continue
      const update = recordOf(entry, nowMs)
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

/** The two halves of the hash of a version, together 52 bits: FNV-1a (Fowler, Noll, Vo) with two primes. */
const HASH_MODULUS = 2 ** 52

function hashOf({ peerId, incarnation, state }: MemberEntry): number {
  let low = 0x811c9dc5
  let high = 0x9e3779b9
  const mix = (value: number): void => {
    low = Math.imul(low ^ value, 0x01000193)
    high = Math.imul(high ^ value, 0x85ebca6b)
    high ^= high >>> 15
  }
  for (let at = 0; at < peerId.length; at++) mix(peerId.charCodeAt(at))
  mix((incarnation % 0x1_0000_0000) | 0)
  mix(Math.floor(incarnation / 0x1_0000_0000))
  mix(RANK[state])
  return ((high >>> 0) % 0x10_0000) * 0x1_0000_0000 + (low >>> 0)
}

/**
 * The incarnation of a member that was read off the log and has not spoken since: below any of its own, so that its first
 * word counts more. Nobody else may have heard of it, so all that is said of it names it whole.
 */
export const INTRODUCED = 0

/** What there is to say of a member to peers that know it. */
export function updateOf(entry: MemberEntry): MemberUpdate {
  const { peerId, incarnation, state, accusers, info } = entry
  const update: MemberUpdate = { peerId, incarnation, state, accusers: [...accusers] }
  if (state === 'alive' || incarnation === INTRODUCED) update.info = info
  return update
}

/** The same for peers that may never have heard of it. */
export function recordOf(entry: MemberEntry, nowMs: number): MemberUpdate {
  const update = updateOf(entry)
  update.info = entry.info
  if (entry.state === 'dead' || entry.state === 'left') {
    update.goneMs = Math.min(GONE_MS_MAX, Math.max(0, nowMs - entry.sinceMs))
  }
  return update
}

export function memberOf(entry: MemberEntry): Member {
  const { peerId, incarnation, state, info } = entry
  return { peerId, incarnation, state, ...info }
}
