import type { FileId, PeerId } from '../base/index.ts'
import { SLOT_COUNT } from './config.ts'

/** A peer as placement sees it. */
export interface RingPeer {
  peerId: PeerId
  /** Machine it runs on; copies go to distinct hosts while there are enough. */
  host: string
  /** Failure domain above the host; '' when nobody said. Copies go to distinct zones first. */
  zone: string
  /** Share of the data it takes, relative to the others; 0 takes none (draining). */
  weight: number
  /** It comes and goes too often: it keeps what it owns and gets nothing new. @default false */
  quarantined?: boolean
}

/** 32-bit finaliser of MurmurHash3 (Austin Appleby): each input bit flips each output bit about half the time. */
function mix(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** FNV-1a over UTF-16 units, finalised; unsigned 32 bits. Part of the data format: where a block lies follows from it. */
export function hashText(text: string, seed = 0): number {
  let hash = 0x811c9dc5 ^ seed
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return mix(hash)
}

/** The slot of partition `index` of a file: partitions of one file spread over the whole ring. */
export function slotOf(fileId: FileId, index: number, slotCount: number = SLOT_COUNT): number {
  return mix(hashText(fileId) ^ Math.imul(index + 1, 0x9e3779b1)) % slotCount
}

/** Scores peers for slots by weighted rendezvous hashing: a peer's chance to win a slot is its share of the weights. */
export class Rendezvous {
  readonly #hashes = new Map<PeerId, readonly [number, number]>()

  /** The higher the better; greater than 0, or 0 for a peer of no weight. */
  score(slot: number, peer: RingPeer): number {
    if (peer.weight <= 0) return 0
    let hashes = this.#hashes.get(peer.peerId)
    if (hashes === undefined) {
      hashes = [hashText(peer.peerId), hashText(peer.peerId, 0x5bd1e995)]
      this.#hashes.set(peer.peerId, hashes)
    }
    const drawn = mix(mix(Math.imul(slot + 1, 0x9e3779b1) ^ hashes[0]) ^ hashes[1])
    // In (0, 1), so the logarithm is negative and finite.
    return -peer.weight / Math.log((drawn + 0.5) / 0x1_0000_0000)
  }

  /** All peers with weight, best first; equal scores by peer id, so that everyone gets the same order. */
  order(slot: number, peers: readonly RingPeer[]): RingPeer[] {
    return peers
      .filter(peer => peer.weight > 0)
      .map(peer => ({ peer, score: this.score(slot, peer) }))
      .sort((a, b) => b.score - a.score || (a.peer.peerId < b.peer.peerId ? -1 : 1))
      .map(scored => scored.peer)
  }
}

/**
 * Who is to hold a block of which `replication` copies are wanted: the slot's owners in order and, beyond them, the next best peers of
 * the ring. Fewer than wanted when there are fewer peers.
 */
export function replicaOwners(
  slot: number,
  owners: readonly PeerId[],
  replication: number,
  peers: readonly RingPeer[],
): PeerId[] {
  if (replication <= owners.length) return owners.slice(0, replication)
  const others = peers.filter(peer => !owners.includes(peer.peerId))
  const next = new Rendezvous().order(slot, others).slice(0, replication - owners.length)
  return [...owners, ...next.map(peer => peer.peerId)]
}
