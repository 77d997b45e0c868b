import type { PeerId } from '../../base/index.ts'

/** Peers that may have a broadcast, and when each may be asked again. */
export class BroadcastSources {
  readonly #self: PeerId
  readonly #notBeforeMs = new Map<PeerId, number>()
  /** Those that gave wrong bytes are never asked again. */
  readonly #banned = new Set<PeerId>()

  constructor(self: PeerId) {
    this.#self = self
  }

  add(peer: PeerId): void {
    if (peer === this.#self || this.#banned.has(peer) || this.#notBeforeMs.has(peer)) return
    this.#notBeforeMs.set(peer, 0)
  }

  /** Does not answer, or does not have it. */
  drop(peer: PeerId): void {
    this.#notBeforeMs.delete(peer)
  }

  ban(peer: PeerId): void {
    this.#banned.add(peer)
    this.drop(peer)
  }

  isBanned(peer: PeerId): boolean {
    return this.#banned.has(peer)
  }

  /** Serves others just now. */
  later(peer: PeerId, notBeforeMs: number): void {
    if (this.#notBeforeMs.has(peer)) this.#notBeforeMs.set(peer, notBeforeMs)
  }

  /** The one that may be asked first; those learnt last first, which spreads the load. */
  next(): { peer: PeerId; notBeforeMs: number } | undefined {
    let best: { peer: PeerId; notBeforeMs: number } | undefined
    for (const [peer, notBeforeMs] of this.#notBeforeMs) {
      if (best === undefined || notBeforeMs <= best.notBeforeMs) best = { peer, notBeforeMs }
    }
    return best
  }
}
