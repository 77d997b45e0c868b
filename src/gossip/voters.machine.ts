import type { PeerId } from '../base/index.ts'
import { invariant } from '../base/index.ts'
import type { VotersOptions } from './config.ts'
import { hasMajority } from './raft-quorum.ts'

/** A live peer of the mesh, and where it runs: voters are spread over zones, then over hosts. */
export interface LivePeer {
  peerId: PeerId
  host: string
  /** @default none */
  zone?: string
  /** On its way out: it is no candidate, and as a voter it is replaced first. @default false */
  draining?: boolean
  /** It comes and goes: no candidate. @default false */
  quarantined?: boolean
}

/** What the leader knows; only a leader asks. */
export interface VotersView {
  self: PeerId
  /** True when the log would take a change now: an entry of this term is committed and no change is under way. */
  mayChange: boolean
  voters: readonly PeerId[]
  lastIndex: number
  /** Everybody the leader feeds. */
  fed: readonly { peer: PeerId; match: number; silentMs: number; answered: boolean; forgot?: boolean }[]
  live: readonly LivePeer[]
}

export type VotersEvent =
  | { type: 'ticked'; view: VotersView }
  /** Not the leader (any more): what was observed is void. */
  | { type: 'leadership-lost' }

export interface ProposeVoters {
  type: 'propose-voters'
  voters: PeerId[]
  reason: string
}

/** Peers that may vote, or go on voting: those that mean to stay. */
export function stayingPeers(live: readonly LivePeer[]): number {
  return live.filter(peer => peer.draining !== true).length
}

/** 1 of one or two live peers, 3 from three, 5 from five: more voters only make commits slower. */
export function votersTarget(live: number): number {
  if (live >= 5) return 5
  return live >= 3 ? 3 : 1
}

/**
 * Decides who votes (an autopilot, after Consul's). The set grows to its target by two at a time, in two single
 * steps, so that an even number of voters, which tolerates no more deaths than one less, never lasts. It never shrinks
 * by itself: a dead voter, or one that lost its log, is removed only when somebody stands ready, who is promoted in
 * the next step. Removal comes first because the new set then needs no vote of the one that cannot give it. A draining
 * voter can, so its replacement is promoted first; so is one that would spread the voters over more zones or hosts.
 */
export class VotersMachine {
  readonly #options: VotersOptions
  /** Since when each learner has been fit to vote. */
  #fitSinceMs = new Map<PeerId, number>()
  /** Since when each voter has been gone. */
  #goneSinceMs = new Map<PeerId, number>()
  /** Voters that lost their log, and those of them that have it again. */
  #forgot = new Map<PeerId, { caughtUp: boolean }>()

  constructor(options: VotersOptions) {
    this.#options = options
  }

  step(event: VotersEvent, nowMs: number): ProposeVoters[] {
    if (event.type === 'leadership-lost') {
      this.#fitSinceMs.clear()
      this.#goneSinceMs.clear()
      this.#forgot.clear()
      return []
    }
    const { view } = event
    this.#observe(view, nowMs)
    if (!view.mayChange) return []
    const proposal = this.#decide(view, nowMs)
    return proposal !== undefined && this.#isViable(proposal.voters) ? [proposal] : []
  }

  assertInvariants(): void {
    for (const peer of this.#fitSinceMs.keys()) {
      invariant(!this.#goneSinceMs.has(peer), 'a peer is a fit learner or a voter that is gone, not both')
    }
  }

  #observe(view: VotersView, nowMs: number): void {
    const { voters, lastIndex, self } = view
    const { trailingMax, silentMs, replaceAfterMs } = this.#options
    const live = new Map(view.live.map(peer => [peer.peerId, peer]))
    const fed = new Map(view.fed.map(peer => [peer.peer, peer]))
    const fit = new Map<PeerId, number>()
    const forgot = new Map<PeerId, { caughtUp: boolean }>()
    for (const { peer, match, silentMs: silent, answered, forgot: lost } of view.fed) {
      // The log may call a peer live that died long ago: a vote for it, and nothing would be committed any more.
      const keepsUp = answered && live.has(peer) && silent <= silentMs && match >= lastIndex - trailingMax
      if (voters.includes(peer)) {
        if (lost === true) forgot.set(peer, { caughtUp: keepsUp })
      } else if (keepsUp && live.get(peer)?.draining !== true && live.get(peer)?.quarantined !== true) {
        fit.set(peer, this.#fitSinceMs.get(peer) ?? nowMs)
      }
    }
    const gone = new Map<PeerId, number>()
    for (const voter of voters) {
      const silent = fed.get(voter)?.silentMs ?? 0
      if (voter === self || (live.has(voter) && silent < replaceAfterMs)) continue
      // A voter that answers pings but not the log is gone as far as the log is concerned.
      gone.set(voter, Math.min(this.#goneSinceMs.get(voter) ?? nowMs, nowMs - (live.has(voter) ? silent : 0)))
    }
    this.#fitSinceMs = fit
    this.#goneSinceMs = gone
    this.#forgot = forgot
  }

  /** A majority of the new set can answer, or the change would never be committed and stand in the way of all others. */
  #isViable(voters: readonly PeerId[]): boolean {
    return hasMajority(voters, voter => !this.#goneSinceMs.has(voter) && !this.#forgot.has(voter))
  }

  #decide(view: VotersView, nowMs: number): ProposeVoters | undefined {
    const { voters, live, self } = view
    const places = new Places(live)
    const ready = this.#readyLearners(view, places, nowMs)
    const best = ready[0]
    const target = votersTarget(stayingPeers(live))
    const draining = live.find(({ peerId, draining }) => draining === true && voters.includes(peerId))?.peerId
    const without = (voter: PeerId, reason: string): ProposeVoters =>
      propose(
        voters.filter(other => other !== voter),
        reason,
      )

    // Whoever leads hands over before it goes, so it never removes itself.
    if (draining !== undefined && draining !== self && voters.length > target)
      return without(draining, `${draining} is draining, and ${target} voters are wanted of the others`)
    // Even: half-way through growth or a replacement, perhaps another leader's.
    if (voters.length % 2 === 0) {
      if (voters.length >= 4 && voters.length > target && this.#goneSinceMs.size === 0) {
        // The one too many is the leader itself: whoever leads next removes it.
        if (draining === self) return undefined
        const surplus = this.#mostDispensable(view, places)
        return surplus && without(surplus, `${surplus} is one more than the ${target} that are wanted`)
      }
      return best && propose([...voters, best], `${best} completes an odd number of voters`)
    }
    const forgetful = [...this.#forgot].find(([, { caughtUp }]) => caughtUp || best !== undefined)?.[0]
    if (forgetful !== undefined && voters.length > 1)
      return without(forgetful, `${forgetful} lost its log, and cannot vote before that is settled`)
    if (best === undefined) return undefined
    const dead = this.#deadVoter(nowMs)
    if (dead !== undefined && voters.length > 1)
      return without(dead, `${dead} is gone and ${best} stands ready`)
    if (draining !== undefined) return propose([...voters, best], `${best} takes the place of ${draining}`)
    if (voters.length < target && ready.length >= 2 && this.#goneSinceMs.size === 0)
      return propose([...voters, best], `${live.length} live peers want ${target} voters`)
    if (voters.length >= 3 && voters.length === target && this.#goneSinceMs.size === 0) {
      const crowded = places.betterWith(voters, best, self)
      if (crowded !== undefined) return propose([...voters, best], `${best} is elsewhere than ${crowded}`)
    }
    return undefined
  }

  /** The voter that is gone longest, once that is long enough. */
  #deadVoter(nowMs: number): PeerId | undefined {
    const due = [...this.#goneSinceMs].filter(([, since]) => nowMs - since >= this.#options.replaceAfterMs)
    return due.sort((a, b) => a[1] - b[1])[0]?.[0]
  }

  /** Who does least for the set: one that lost its log, or else the one without which the rest is spread best. */
  #mostDispensable({ voters, self }: VotersView, places: Places): PeerId | undefined {
    const others = voters.filter(voter => voter !== self)
    const forgetful = others.find(voter => this.#forgot.has(voter))
    if (forgetful !== undefined) return forgetful
    const spreadWithout = (voter: PeerId): number =>
      places.spread(voters.filter(candidate => candidate !== voter))
    return others.sort((a, b) => spreadWithout(b) - spreadWithout(a) || (a < b ? -1 : 1))[0]
  }

  /** Best first: where the fewest voters are, then the furthest, then by name. */
  #readyLearners({ voters, fed }: VotersView, places: Places, nowMs: number): PeerId[] {
    const matches = new Map(fed.map(({ peer, match }) => [peer, match]))
    const matchOf = (peer: PeerId): number => matches.get(peer) ?? 0
    const spreadWith = (peer: PeerId): number => places.spread([...voters, peer])
    const crowd = (peer: PeerId): number => places.crowd(voters, peer)
    return [...this.#fitSinceMs]
      .filter(([, since]) => nowMs - since >= this.#options.stableMs)
      .map(([peer]) => peer)
      .sort(
        (a, b) =>
          spreadWith(b) - spreadWith(a) || crowd(a) - crowd(b) || matchOf(b) - matchOf(a) || (a < b ? -1 : 1),
      )
  }
}

/** More hosts than there are ever voters: a zone counts for more than all of them. */
const ZONE_WORTH = 1_000

/** Where the live peers run. What is gone runs nowhere. */
class Places {
  readonly #live: ReadonlyMap<PeerId, LivePeer>

  constructor(live: readonly LivePeer[]) {
    this.#live = new Map(live.map(peer => [peer.peerId, peer]))
  }

  /** Grows with the zones, then with the hosts, that the peers are on. */
  spread(peers: readonly PeerId[]): number {
    const known = peers.flatMap(peer => this.#live.get(peer) ?? [])
    const zones = new Set(known.map(({ zone = '' }) => zone))
    const hosts = new Set(known.map(({ zone = '', host }) => `${zone} ${host}`))
    return zones.size * ZONE_WORTH + hosts.size
  }

  /** Peers on the host of this one. */
  crowd(peers: readonly PeerId[], peer: PeerId): number {
    const host = this.#live.get(peer)?.host
    return peers.filter(other => this.#live.get(other)?.host === host).length
  }

  /** A voter whose place `candidate` would take to the good of the spread; not `self`, which would have to step down. */
  betterWith(voters: readonly PeerId[], candidate: PeerId, self: PeerId): PeerId | undefined {
    const now = this.spread(voters)
    return voters.find(
      voter => voter !== self && this.spread([...voters.filter(other => other !== voter), candidate]) > now,
    )
  }
}

function propose(voters: PeerId[], reason: string): ProposeVoters {
  return { type: 'propose-voters', voters, reason }
}
