import { invariant } from '../base/index.ts'
import type { PeerId } from '../base/index.ts'

/** A subset of `MembershipOptions`. */
export interface QuarantineOptions {
  flapTurns: number
  flapWindowMs: number
  quarantineMs: number
  quarantineMaxMs: number
}

interface Flapper {
  /** When it came back from the dead, oldest first; at most `flapTurns`. */
  turnsAtMs: number[]
  /** Quarantines in a row: each lasts twice as long as the one before. */
  quarantines: number
  /** End of the present or latest quarantine. */
  untilMs: number
  quarantined: boolean
}

/**
 * Peers that die and come back again and again. Each turn moves replicas and tasks away and back, so who turns
 * `flapTurns` times within `flapWindowMs` gets nothing new for a while, and longer each time. It is forgiven when it has been
 * calm, out of quarantine, for the longest quarantine. Bounded: one entry per member that turned lately.
 */
export class MemberQuarantine {
  readonly #options: QuarantineOptions
  readonly #flappers = new Map<PeerId, Flapper>()

  constructor(options: QuarantineOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#flappers.size
  }

  has(peer: PeerId): boolean {
    return this.#flappers.get(peer)?.quarantined === true
  }

  /** The peer was dead and lives again. True when it enters quarantine by that; one in quarantine stays longer. */
  turned(peer: PeerId, nowMs: number): boolean {
    const { flapTurns, flapWindowMs, quarantineMs, quarantineMaxMs } = this.#options
    let flapper = this.#flappers.get(peer)
    if (flapper === undefined) {
      flapper = { turnsAtMs: [], quarantines: 0, untilMs: nowMs, quarantined: false }
      this.#flappers.set(peer, flapper)
    }
    flapper.turnsAtMs = [...flapper.turnsAtMs.filter(atMs => nowMs - atMs < flapWindowMs), nowMs].slice(
      -flapTurns,
    )
    if (!flapper.quarantined && flapper.turnsAtMs.length < flapTurns) return false
    const entered = !flapper.quarantined
    flapper.quarantined = true
    flapper.untilMs = nowMs + Math.min(quarantineMaxMs, quarantineMs * 2 ** flapper.quarantines)
    // Beyond this the power would only grow towards infinity.
    flapper.quarantines = Math.min(flapper.quarantines + 1, 32)
    return entered
  }

  /** Ends what is over; those that leave quarantine by that. */
  release(nowMs: number): PeerId[] {
    const released: PeerId[] = []
    for (const [peer, flapper] of this.#flappers) {
      if (flapper.quarantined && nowMs >= flapper.untilMs) {
        flapper.quarantined = false
        released.push(peer)
      }
      if (!flapper.quarantined && this.#isForgiven(flapper, nowMs)) this.#flappers.delete(peer)
    }
    return released
  }

  forget(peer: PeerId): void {
    this.#flappers.delete(peer)
  }

  assertInvariants(): void {
    for (const [peer, { turnsAtMs, quarantined }] of this.#flappers) {
      const { flapTurns } = this.#options
      invariant(turnsAtMs.length <= flapTurns, `${peer} has more turns than are counted`)
      invariant(!quarantined || turnsAtMs.length > 0, `${peer} is in quarantine and never turned`)
    }
  }

  #isForgiven({ turnsAtMs, quarantines, untilMs }: Flapper, nowMs: number): boolean {
    const { flapWindowMs, quarantineMaxMs } = this.#options
    const lastMs = turnsAtMs.at(-1) ?? untilMs
    return nowMs - lastMs >= flapWindowMs && (quarantines === 0 || nowMs - untilMs >= quarantineMaxMs)
  }
}
