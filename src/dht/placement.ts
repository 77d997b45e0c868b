import type { PeerId } from '../base/index.ts'
import { Rendezvous, type RingPeer } from './ring.ts'

/** One slot's owners, as they are and as they should be. */
export interface SlotMove {
  slot: number
  /** New owner list, in order; a new owner takes the place of the one it replaces. */
  owners: PeerId[]
  /** New owners that were not owners. */
  added: PeerId[]
}

/**
 * Failure domains (zones, and hosts in them) and how much each may take. `perSlotMax` is the smallest number of copies of
 * one slot in one domain with which all copies still find a place: 1 when there are enough domains.
 */
interface Topology {
  peers: readonly RingPeer[]
  /** Those of them that may get new slots. */
  takers: readonly RingPeer[]
  byId: ReadonlyMap<PeerId, RingPeer>
  replication: number
  hostPerSlotMax: number
  zonePerSlotMax: number
  /** Slots each peer should own: its share of the weights, as far as its host and zone may take it. */
  targets: ReadonlyMap<PeerId, number>
}

const hostKey = (peer: RingPeer): string => `${peer.zone}\0${peer.host}`

/** What to change, and what that costs beside the least it could. */
export interface Plan {
  moves: SlotMove[]
  /** Owners that come to slots they did not own. */
  added: number
  /**
   * The fewest owners that any planner must add to get from the table to the shares that these peers have: a place per owner that
   * may not stay, or what peers lack of their shares, if that is more.
   */
  ideal: number
}

/** Owners for all slots from nothing. */
export function seedTable(peers: readonly RingPeer[], slotCount: number, replication: number): PeerId[][] {
  const table = Array.from({ length: slotCount }, (): PeerId[] => [])
  for (const move of plan(table, peers, replication)) table[move.slot] = move.owners
  return table
}

/**
 * What to change so that every slot has `replication` owners (or as many as there are peers) among `peers`, in distinct
 * zones, hosts and peers as far as there are enough, and so that no peer owns more than its share, rounded up.
 *
 * Owners that may stay do. A vacant place goes to the best peer of the ring that is below its share; then peers below their
 * share take over from peers above it, one owner at a time, never through a third. So a join moves
 * what the newcomer should own and a departure what the departed owned, which is the least possible. (Rebalancers that shed whole
 * slots, or that recompute the table and move the differences, moved up to 14 times that.)
 *
 * Peers without weight and owners that are not in `peers` keep their place only while nobody can take it: a slot never gets
 * fewer owners than it had.
 */
export function plan(
  table: readonly (readonly PeerId[])[],
  peers: readonly RingPeer[],
  replication: number,
): SlotMove[] {
  const steps = planSteps(table, peers, replication)
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value.moves
  }
}

/**
 * The same in slices: yields after about `SLICE_SCORES` scores, so that a plan for 1,000 peers does
 * not hold up heartbeats.
 */
export function* planSteps(
  table: readonly (readonly PeerId[])[],
  peers: readonly RingPeer[],
  replication: number,
): Generator<void, Plan> {
  const topology = topologyOf(peers, table.length, replication)
  if (topology.peers.length === 0) return { moves: [], added: 0, ideal: 0 }
  const planner = new Planner(topology, table)
  const ideal = planner.lacking()
  yield
  yield* planner.fill()
  yield* planner.rebalance()
  yield
  const moves: SlotMove[] = []
  for (const [slot, old] of table.entries()) {
    const owners = withUnreplaceable(planner.owners[slot]!, old)
    const added = owners.filter(peer => !old.includes(peer))
    if (added.length > 0 || owners.length !== old.length) moves.push({ slot, owners, added })
  }
  return { moves, added: moves.reduce((sum, move) => sum + move.added.length, 0), ideal }
}

/** Old owners that nobody could replace stay at the end of the list, so that it does not get shorter. */
function withUnreplaceable(owners: PeerId[], old: readonly PeerId[]): PeerId[] {
  const missing = old.length - owners.length
  if (missing <= 0) return owners
  return [...owners, ...old.filter(peer => !owners.includes(peer)).slice(0, missing)]
}

/** Scores between two yields: 1 to 3 ms. */
const SLICE_SCORES = 8_000

class Planner {
  /** Of each slot: only peers of the topology, within its limits. */
  readonly owners: PeerId[][]
  readonly #topology: Topology
  readonly #rendezvous = new Rendezvous()
  readonly #loads = new Map<PeerId, number>()
  /** Of each slot that lacks owners: position in the old list of the first owner that goes, for its substitute. */
  readonly #vacancies: number[][]
  /** Scores since the last yield. */
  #work = 0

  constructor(topology: Topology, table: readonly (readonly PeerId[])[]) {
    this.#topology = topology
    for (const peer of topology.peers) this.#loads.set(peer.peerId, 0)
    this.#vacancies = table.map(() => [])
    this.owners = table.map((old, slot) => {
      const kept: PeerId[] = []
      for (const [position, peerId] of old.entries()) {
        const peer = topology.byId.get(peerId)
        if (peer !== undefined && kept.length < topology.replication && this.#fits(kept, peer)) {
          kept.push(peerId)
          this.#load(peerId, 1)
        } else this.#vacancies[slot]!.push(position)
      }
      return kept
    })
  }

  /** See `Plan.ideal`. */
  lacking(): number {
    const { replication, takers, targets } = this.#topology
    const vacant = this.owners.reduce((sum, kept) => sum + replication - kept.length, 0)
    const lacking = takers.reduce(
      (sum, { peerId }) =>
        sum + Math.max(0, Math.floor(targets.get(peerId)! + 1e-6) - this.#loads.get(peerId)!),
      0,
    )
    return Math.max(vacant, lacking)
  }

  *fill(): Generator<void> {
    for (const [slot, owners] of this.owners.entries()) {
      while (owners.length < this.#topology.replication) {
        if (this.#work >= SLICE_SCORES) yield* this.#pause()
        const peer = this.#bestFor(slot, owners)
        // Only quarantined peers are left to ask.
        if (peer === undefined) break
        const position = this.#vacancies[slot]!.shift() ?? owners.length
        owners.splice(Math.min(position, owners.length), 0, peer)
        this.#load(peer, 1)
      }
    }
  }

  *#pause(): Generator<void> {
    this.#work = 0
    yield
  }

  /** The best of the ring among those below their share; when all that fit are at it, the one least above. */
  #bestFor(slot: number, owners: readonly PeerId[]): PeerId | undefined {
    const candidates = this.#topology.takers.filter(peer => this.#fits(owners, peer))
    // The limits are the smallest with room for all copies, so whatever fits so far can be completed, but for places that are
    // a quarantined peer's: then rather a second copy in one domain than one copy less.
    if (candidates.length === 0) {
      candidates.push(...this.#topology.takers.filter(peer => !owners.includes(peer.peerId)))
    }
    let best: RingPeer | undefined
    let bestScore = -1
    let leastOver: RingPeer | undefined
    for (const peer of candidates) {
      if (this.#excess(peer.peerId) <= -1) {
        const score = this.#rendezvous.score(slot, peer)
        if (score > bestScore) [best, bestScore] = [peer, score]
      } else if (leastOver === undefined || this.#excess(peer.peerId) < this.#excess(leastOver.peerId)) {
        leastOver = peer
      }
    }
    this.#work += this.#topology.takers.length
    return (best ?? leastOver)?.peerId
  }

  *rebalance(): Generator<void> {
    // First everybody up to the share rounded down, from whoever is above it; then nobody above the share rounded up.
    // Again while it helps, for one move can make room for another. Each brings loads closer, so this ends.
    let moved: number
    do {
      moved = yield* this.#pass(
        taker => this.#excess(taker) <= -1,
        giver => this.#excess(giver) > 0,
      )
      moved += yield* this.#pass(
        taker => this.#excess(taker) < 0,
        giver => this.#excess(giver) >= 1,
      )
    } while (moved > 0)
  }

  *#pass(mayTake: (peer: PeerId) => boolean, mustGive: (peer: PeerId) => boolean): Generator<void, number> {
    let moved = 0
    for (const taker of this.#topology.takers) {
      if (!mayTake(taker.peerId)) continue
      const givers = new Set<PeerId>()
      for (const { peerId } of this.#topology.peers) if (mustGive(peerId)) givers.add(peerId)
      // Ranking costs most of the time, and mostly nobody has anything to give.
      if (givers.size === 0) break
      if (this.#work >= SLICE_SCORES) yield* this.#pause()
      // Its best slots of the ring first, so that they are spread evenly over the givers and stay when others join.
      const ranked: { slot: number; score: number }[] = []
      for (const [slot, owners] of this.owners.entries()) {
        if (this.#work >= SLICE_SCORES) yield* this.#pause()
        if (!owners.some(owner => givers.has(owner))) continue
        ranked.push({ slot, score: this.#rendezvous.score(slot, taker) })
        this.#work++
      }
      ranked.sort((a, b) => b.score - a.score || a.slot - b.slot)
      // Sorting costs about as much again.
      this.#work += ranked.length
      for (const { slot } of ranked) {
        if (!mayTake(taker.peerId)) break
        if (this.#takeOver(slot, taker, mustGive)) moved++
      }
    }
    return moved
  }

  #takeOver(slot: number, taker: RingPeer, mustGive: (peer: PeerId) => boolean): boolean {
    const owners = this.owners[slot]!
    if (owners.includes(taker.peerId)) return false
    let giver: PeerId | undefined
    for (const owner of owners) {
      if (!mustGive(owner) || (giver !== undefined && this.#excess(owner) <= this.#excess(giver))) continue
      const others = owners.filter(peer => peer !== owner)
      if (this.#fits(others, taker)) giver = owner
    }
    if (giver === undefined) return false
    owners[owners.indexOf(giver)] = taker.peerId
    this.#load(giver, -1)
    this.#load(taker.peerId, 1)
    return true
  }

  #fits(owners: readonly PeerId[], peer: RingPeer): boolean {
    const { byId, hostPerSlotMax, zonePerSlotMax } = this.#topology
    let onHost = 0
    let inZone = 0
    for (const owner of owners) {
      if (owner === peer.peerId) return false
      const other = byId.get(owner)!
      if (other.zone !== peer.zone) continue
      inZone++
      if (other.host === peer.host) onHost++
    }
    return onHost < hostPerSlotMax && inZone < zonePerSlotMax
  }

  /** Slots above (or, negative, below) the peer's share. */
  #excess(peer: PeerId): number {
    // Shares are sums of fractions: without rounding, a share of 1,229 computed as 1,228.9999 would ask for a move.
    return Math.round((this.#loads.get(peer)! - this.#topology.targets.get(peer)!) * 1e6) / 1e6
  }

  #load(peer: PeerId, change: number): void {
    this.#loads.set(peer, this.#loads.get(peer)! + change)
  }
}

function topologyOf(all: readonly RingPeer[], slotCount: number, wanted: number): Topology {
  const peers = all.filter(peer => peer.weight > 0)
  const replication = Math.min(wanted, peers.length)
  const hosts = Map.groupBy(peers, hostKey)
  const zones = Map.groupBy(hosts.values(), members => members[0]!.zone)
  const sizes = [...hosts.values()].map(members => members.length)
  const hostPerSlotMax = smallestLimit(sizes, replication)
  const hostRoom = (members: readonly RingPeer[]): number => Math.min(hostPerSlotMax, members.length)
  const zoneRooms = [...zones.values()].map(group =>
    group.reduce((room, members) => room + hostRoom(members), 0),
  )
  const zonePerSlotMax = smallestLimit(zoneRooms, replication)
  const targets = new Map<PeerId, number>()
  const weightOf = (members: readonly RingPeer[]): number =>
    members.reduce((sum, peer) => sum + peer.weight, 0)
  const zoneShares = shares(
    slotCount * replication,
    [...zones.values()].map((group, at) => ({
      weight: group.reduce((sum, members) => sum + weightOf(members), 0),
      max: Math.min(zonePerSlotMax, zoneRooms[at]!) * slotCount,
    })),
  )
  for (const [at, group] of [...zones.values()].entries()) {
    const hostShares = shares(
      zoneShares[at]!,
      group.map(members => ({ weight: weightOf(members), max: hostRoom(members) * slotCount })),
    )
    for (const [index, members] of group.entries()) {
      const peerShares = shares(
        hostShares[index]!,
        members.map(peer => ({ weight: peer.weight, max: slotCount })),
      )
      for (const [position, peer] of members.entries()) targets.set(peer.peerId, peerShares[position]!)
    }
  }
  const byId = new Map(peers.map(peer => [peer.peerId, peer]))
  const takers = peers.filter(peer => peer.quarantined !== true)
  return { peers, takers, byId, replication, hostPerSlotMax, zonePerSlotMax, targets }
}

/** Smallest limit with which domains of these sizes take `count` together. */
function smallestLimit(sizes: readonly number[], count: number): number {
  let limit = 1
  while (sizes.reduce((sum, size) => sum + Math.min(limit, size), 0) < count) limit++
  return limit
}

/** Splits `total` by weight; who would get more than its maximum gets that, and the others share the rest. */
function shares(total: number, parts: readonly { weight: number; max: number }[]): number[] {
  const result = parts.map(() => 0)
  let open = [...parts.keys()]
  let rest = total
  for (;;) {
    const weight = open.reduce((sum, at) => sum + parts[at]!.weight, 0)
    const full = open.filter(at => (rest * parts[at]!.weight) / weight >= parts[at]!.max)
    if (full.length === 0 || full.length === open.length) {
      for (const at of open) result[at] = Math.min((rest * parts[at]!.weight) / weight, parts[at]!.max)
      return result
    }
    for (const at of full) {
      result[at] = parts[at]!.max
      rest -= parts[at]!.max
    }
    open = open.filter(at => !full.includes(at))
  }
}
