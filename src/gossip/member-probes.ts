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
  helpAtMs: number
  failsAtMs: number
}

/** A ping sent for another peer. */
interface Relay {
  target: PeerId
  asker: PeerId
  askerSequence: number
  endsAtMs: number
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
    if (!this.#round.includes(peer)) this.#round.splice(below(this.#random, this.#round.length + 1), 0, peer)
  }

  /** The next of the round; `live` fills a new round. */
  next(live: readonly PeerId[]): PeerId | undefined {
    const known = new Set(live)
    for (;;) {
      if (this.#round.length === 0) this.#round = shuffled(this.#random, live)
      const peer = this.#round.pop()
      if (peer === undefined || known.has(peer)) return peer
    }
  }

  isProbing(target: PeerId): boolean {
    for (const probe of this.#probes.values()) if (probe.target === target) return true
    return false
  }

  start(target: PeerId, incarnation: number, nowMs: number): Probe {
    const helpAtMs = nowMs + this.#options.probeTimeoutMs
    const failsAtMs = helpAtMs + this.#options.indirectTimeoutMs
    const probe: Probe = {
      sequence: ++this.#sequence,
      target,
      incarnation,
      helpers: undefined,
      helpAtMs,
      failsAtMs,
    }
    this.#probes.set(probe.sequence, probe)
    return probe
  }

  /** The sequence of the ping to send to the target, or undefined when too many are under way. */
  relay(target: PeerId, asker: PeerId, askerSequence: number, nowMs: number): number | undefined {
    if (this.#relays.size >= this.#options.relaysMax) return undefined
    const endsAtMs = nowMs + this.#options.indirectTimeoutMs
    this.#relays.set(++this.#sequence, { target, asker, askerSequence, endsAtMs })
    return this.#sequence
  }

  /** Ends what the ack answers; returns the peer that waits for it when it was a forwarded ping. */
  acked(sequence: number, from: PeerId): { asker: PeerId; askerSequence: number } | undefined {
    const probe = this.#probes.get(sequence)
    if (probe !== undefined && (probe.target === from || probe.helpers?.includes(from) === true)) {
      this.#probes.delete(sequence)
    }
    const relay = this.#relays.get(sequence)
    if (relay?.target !== from) return undefined
    this.#relays.delete(sequence)
    return relay
  }

  /** Probes whose direct ping took too long, and those that failed; the latter are ended. */
  due(nowMs: number): { needHelp: Probe[]; failed: Probe[] } {
    const needHelp: Probe[] = []
    const failed: Probe[] = []
    for (const probe of this.#probes.values()) {
      if (nowMs >= probe.failsAtMs) failed.push(probe)
      else if (nowMs >= probe.helpAtMs && probe.helpers === undefined) needHelp.push(probe)
    }
    for (const probe of failed) this.#probes.delete(probe.sequence)
    for (const [sequence, relay] of this.#relays) if (nowMs >= relay.endsAtMs) this.#relays.delete(sequence)
    return { needHelp, failed }
  }

  /** This process stood still: what was under way starts its wait again, for the acks may lie unread. */
  restart(nowMs: number): void {
    for (const probe of this.#probes.values()) {
      probe.helpAtMs = nowMs + this.#options.probeTimeoutMs
      probe.failsAtMs = probe.helpAtMs + this.#options.indirectTimeoutMs
    }
  }

  forget(peer: PeerId): void {
    for (const probe of this.#probes.values()) if (probe.target === peer) this.#probes.delete(probe.sequence)
  }
}
