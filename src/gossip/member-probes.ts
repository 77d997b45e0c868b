import { below, shuffled } from '../base/index.ts'
import type { PeerId, Random } from '../base/index.ts'
import type { MembershipOptions } from './config.ts'

export interface Probe {
  readonly sequence: number
  readonly target: PeerId
  /** The target's when the probe began: a later one refutes its failure. */
  readonly incarnation: number
  /** Others asked to ping the target; their acks count as the target's. Undefined while the direct ping may succeed. */
  helpers: readonly PeerId[] | undefined
  /** Helpers that said that the target did not answer them either: they, and the way to them, are sound. */
  readonly nacked: Set<PeerId>
  helpAtMs: number
  failsAtMs: number
}

/** A ping sent for another peer. */
interface Relay {
  target: PeerId
  asker: PeerId
  askerSequence: number
  /** When the asker is told that there is no answer yet; infinite once it was. */
  nackAtMs: number
  endsAtMs: number
}

/** Whom an answer to a forwarded ping is for. */
export interface Asker {
  asker: PeerId
  askerSequence: number
}

export interface DueProbes {
  /** The direct ping took too long. */
  needHelp: Probe[]
  /** Nobody reached the target in time; they are ended. */
  failed: Probe[]
  nacks: Asker[]
}

/**
 * Whom to probe next, and which probes and forwarded pings are under way.
 * Targets come in rounds of a new random order, so each member is probed once a round (SWIM section 4.3): the time to
 * the first probe of a failed member is bounded, and no two peers keep in step.
 */
export class MemberProbes {
  readonly #options: MembershipOptions
  readonly #random: Random
  #round: PeerId[] = []
  readonly #inRound = new Set<PeerId>()
  readonly #probes = new Map<number, Probe>()
  readonly #relays = new Map<number, Relay>()
  #sequence: number

  constructor(options: MembershipOptions, random: Random) {
    this.#options = options
    this.#random = random
    // An ack to a ping of an earlier life of this peer must not answer one of this life.
    this.#sequence = below(random, 2 ** 40)
  }

  get inFlight(): number {
    return this.#probes.size
  }

  get relays(): number {
    return this.#relays.size
  }

  /** A newcomer is due within the running round, at a random place of it. */
  enlist(peer: PeerId): void {
    if (this.#inRound.has(peer)) return
    this.#inRound.add(peer)
    const place = below(this.#random, this.#round.length + 1)
    const displaced = this.#round[place]
    this.#round[place] = peer
    if (displaced !== undefined) this.#round.push(displaced)
  }

  /** The next live one of the round; `live` fills a new round. */
  next(live: () => readonly PeerId[], isLive: (peer: PeerId) => boolean): PeerId | undefined {
    for (;;) {
      if (this.#round.length === 0) {
        this.#round = shuffled(this.#random, live())
        for (const peer of this.#round) this.#inRound.add(peer)
      }
      const peer = this.#round.pop()
      if (peer === undefined) return undefined
      this.#inRound.delete(peer)
      if (isLive(peer)) return peer
    }
  }

  isProbing(target: PeerId): boolean {
    for (const probe of this.#probes.values()) if (probe.target === target) return true
    return false
  }

  /** @param factor stretches its time-outs: that of the local health */
  start(target: PeerId, incarnation: number, nowMs: number, factor: number): Probe {
    const helpAtMs = nowMs + this.#options.probeTimeoutMs * factor
    const failsAtMs = helpAtMs + this.#options.indirectTimeoutMs * factor
    const probe: Probe = {
      sequence: ++this.#sequence,
      target,
      incarnation,
      helpers: undefined,
      nacked: new Set(),
      helpAtMs,
      failsAtMs,
    }
    this.#probes.set(probe.sequence, probe)
    return probe
  }

  /** The sequence of the ping to send to the target, or undefined when too many are under way. */
  relay(target: PeerId, asker: PeerId, askerSequence: number, nowMs: number): number | undefined {
    if (this.#relays.size >= this.#options.relaysMax) return undefined
    const { probeTimeoutMs, indirectTimeoutMs } = this.#options
    const nackAtMs = nowMs + probeTimeoutMs
    const endsAtMs = nowMs + indirectTimeoutMs
    this.#relays.set(++this.#sequence, { target, asker, askerSequence, nackAtMs, endsAtMs })
    return this.#sequence
  }

  /** Ends what the ack answers. `prompt`: an own ping was answered before help was asked for. */
  acked(sequence: number, from: PeerId): { prompt: boolean; relay: Asker | undefined } {
    const probe = this.#probes.get(sequence)
    if (probe !== undefined && (probe.target === from || probe.helpers?.includes(from) === true)) {
      this.#probes.delete(sequence)
      return { prompt: probe.helpers === undefined, relay: undefined }
    }
    const relay = this.#relays.get(sequence)
    if (relay?.target !== from) return { prompt: false, relay: undefined }
    this.#relays.delete(sequence)
    return { prompt: false, relay }
  }

  /** A helper has no answer of the target. */
  nacked(sequence: number, from: PeerId): void {
    const probe = this.#probes.get(sequence)
    if (probe?.helpers?.includes(from) === true) probe.nacked.add(from)
  }

  /** What the time has decided. */
  due(nowMs: number): DueProbes {
    const needHelp: Probe[] = []
    const failed: Probe[] = []
    const nacks: Asker[] = []
    for (const probe of this.#probes.values()) {
      if (nowMs >= probe.failsAtMs) failed.push(probe)
      else if (nowMs >= probe.helpAtMs && probe.helpers === undefined) needHelp.push(probe)
    }
    for (const probe of failed) this.#probes.delete(probe.sequence)
    for (const [sequence, relay] of this.#relays) {
      if (nowMs >= relay.nackAtMs) {
        relay.nackAtMs = Infinity
        nacks.push(relay)
      }
      if (nowMs >= relay.endsAtMs) this.#relays.delete(sequence)
    }
    return { needHelp, failed, nacks }
  }

  /** This process stood still: what was under way starts its wait again, for the acks may lie unread. */
  restart(nowMs: number, factor: number): void {
    for (const probe of this.#probes.values()) {
      probe.helpAtMs = nowMs + this.#options.probeTimeoutMs * factor
      probe.failsAtMs = probe.helpAtMs + this.#options.indirectTimeoutMs * factor
    }
  }

  forget(peer: PeerId): void {
    for (const probe of this.#probes.values()) if (probe.target === peer) this.#probes.delete(probe.sequence)
  }
}
