import type { PeerId } from '../base/index.ts'
import { invariant } from '../base/index.ts'
import type { VotersOptions } from './config.ts'

/** A live peer of the mesh, with the host it runs on: voters are spread over hosts first. */
export interface LivePeer {
  peerId: PeerId
  host: string
}

/** What the leader knows; only a leader asks. */
export interface VotersView {
  self: PeerId
  /** True when the log would take a change now: an entry of this term is committed and no change is under way. */
  mayChange: boolean
  voters: readonly PeerId[]
  lastIndex: number
  /** Everybody the leader feeds. */
  fed: readonly { peer: PeerId; match: number; silentMs: number }[]
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

/** 1 of one or two live peers, 3 from three, 5 from five: more voters only make commits slower. */
export function votersTarget(live: number): number {
  if (live >= 5) return 5
  return live >= 3 ? 3 : 1
}

/**
 * Decides who votes (an autopilot, after Consul's). The set grows to its target by two at a time, in two single
 * steps, so that an even number of voters, which tolerates no more deaths than one less, never lasts. It never shrinks
 * by itself: a dead voter is removed only when a fit learner stands ready, which is promoted in the next step.
 * Removal comes first because the new set then needs no vote of the dead one.
 */
export class VotersMachine {
  readonly #options: VotersOptions
  /** Since when each learner has been fit to vote. */
  #fitSinceMs = new Map<PeerId, number>()
  /** Since when each voter has been gone. */
  #goneSinceMs = new Map<PeerId, number>()

  constructor(options: VotersOptions) {
    this.#options = options
  }

  step(event: VotersEvent, nowMs: number): ProposeVoters[] {
    if (event.type === 'leadership-lost') {
      this.#fitSinceMs.clear()
      this.#goneSinceMs.clear()
      return []
    }
    this.#observe(event.view, nowMs)
    return event.view.mayChange ? this.#decide(event.view, nowMs) : []
  }

  assertInvariants(): void {
    for (const peer of this.#fitSinceMs.keys()) {
      invariant(!this.#goneSinceMs.has(peer), 'a peer is a fit learner or a voter that is gone, not both')
    }
  }

  #observe(view: VotersView, nowMs: number): void {
    const { voters, lastIndex, self } = view
    const { trailingMax, silentMs, replaceAfterMs } = this.#options
    const live = new Set(view.live.map(peer => peer.peerId))
    const fed = new Map(view.fed.map(peer => [peer.peer, peer]))
    const fit = new Map<PeerId, number>()
    for (const { peer, match, silentMs: silent } of view.fed) {
      if (voters.includes(peer) || !live.has(peer) || silent > silentMs || match < lastIndex - trailingMax)
        continue
      fit.set(peer, this.#fitSinceMs.get(peer) ?? nowMs)
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
  }

  #decide(view: VotersView, nowMs: number): ProposeVoters[] {
    const { voters } = view
    const ready = this.#readyLearners(view, nowMs)
    const best = ready[0]
    if (best === undefined) return []
    const target = votersTarget(view.live.length)
    // Even: half-way through growth or a replacement, perhaps another leader's.
    if (voters.length % 2 === 0)
      return propose([...voters, best], `${best} completes an odd number of voters`)
    const dead = this.#deadVoter(nowMs)
    if (dead !== undefined && voters.length > 1) {
      const left = voters.filter(voter => voter !== dead)
      return propose(left, `${dead} is gone and ${best} stands ready`)
    }
    if (voters.length < target && ready.length >= 2 && this.#goneSinceMs.size === 0) {
      return propose([...voters, best], `${view.live.length} live peers want ${target} voters`)
    }
    return []
  }

  /** The voter that is gone longest, once that is long enough. */
  #deadVoter(nowMs: number): PeerId | undefined {
    const due = [...this.#goneSinceMs].filter(([, since]) => nowMs - since >= this.#options.replaceAfterMs)
    return due.sort((a, b) => a[1] - b[1])[0]?.[0]
  }

  /** Best first: on the host with the fewest (live) voters, then the furthest, then by name. */
  #readyLearners(view: VotersView, nowMs: number): PeerId[] {
    const hosts = new Map(view.live.map(peer => [peer.peerId, peer.host]))
    const votersOn = new Map<string, number>()
    for (const voter of view.voters) {
      const host = hosts.get(voter)
      if (host !== undefined) votersOn.set(host, (votersOn.get(host) ?? 0) + 1)
    }
    const crowd = (peer: PeerId): number => votersOn.get(hosts.get(peer) ?? '') ?? 0
    const matches = new Map(view.fed.map(({ peer, match }) => [peer, match]))
    const matchOf = (peer: PeerId): number => matches.get(peer) ?? 0
    return [...this.#fitSinceMs]
      .filter(([, since]) => nowMs - since >= this.#options.stableMs)
      .map(([peer]) => peer)
      .sort((a, b) => crowd(a) - crowd(b) || matchOf(b) - matchOf(a) || (a < b ? -1 : 1))
  }
}

function propose(voters: PeerId[], reason: string): ProposeVoters[] {
  return [{ type: 'propose-voters', voters, reason }]
}
