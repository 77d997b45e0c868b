import { pick } from '../../src/base/index.ts'
import type { PeerId, Random } from '../../src/base/index.ts'
import type { VirtualTime } from './virtual-time.ts'

export interface LinkFaults {
  /** Shares of messages, 0 to 1. */
  loss: number
  duplication: number
  /** Messages that are this much later than others: reordering and the retransmissions of TCP. */
  slow: number
  /** Uniform delay of ordinary messages. */
  minMs: number
  maxMs: number
  /** Longest delay of a slow one. */
  slowMs: number
}

export const CLEAN_LINK: Readonly<LinkFaults> = {
  loss: 0,
  duplication: 0,
  slow: 0,
  minMs: 0.2,
  maxMs: 2,
  slowMs: 0,
}

/** Datagrams between peers with the faults of each link; harsher than the real channels, which keep the order. */
export class FakeNetwork {
  faults: LinkFaults = { ...CLEAN_LINK }
  readonly #time: VirtualTime
  readonly #random: Random
  /** Faults of single directed links, before the common ones. */
  readonly #links = new Map<string, LinkFaults>()
  readonly #cut = new Set<string>()
  delivered = 0

  constructor(time: VirtualTime, random: Random) {
    this.#time = time
    this.#random = random
  }

  send(from: PeerId, to: PeerId, deliver: () => void): void {
    const faults = this.#links.get(key(from, to)) ?? this.faults
    const copies = this.#random.next() < faults.duplication ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (this.#random.next() < faults.loss) continue
      const slowest = this.#random.next() < faults.slow ? faults.slowMs : faults.maxMs
      this.#time.after(faults.minMs + this.#random.next() * (slowest - faults.minMs), () => {
        // A partition also holds what is under way: the connection's buffers never get through.
        if (this.isCut(from, to)) return
        this.delivered++
        deliver()
      })
    }
  }

  /** The way gossip takes: direct, or over one other peer when the direct link is cut. */
  gossip(from: PeerId, to: PeerId, relays: readonly PeerId[], deliver: () => void): void {
    if (!this.isCut(from, to)) return this.send(from, to, deliver)
    const open = relays.filter(relay => !this.isCut(from, relay) && !this.isCut(relay, to))
    const relay = pick(this.#random, open)
    if (relay !== undefined) this.send(from, relay, () => this.send(relay, to, deliver))
  }

  isCut(from: PeerId, to: PeerId): boolean {
    return this.#cut.has(key(from, to))
  }

  /** One direction only. */
  cut(from: PeerId, to: PeerId): void {
    this.#cut.add(key(from, to))
  }

  cutBoth(a: PeerId, b: PeerId): void {
    this.cut(a, b)
    this.cut(b, a)
  }

  mend(from: PeerId, to: PeerId): void {
    this.#cut.delete(key(from, to))
  }

  /** Nobody of one side reaches anybody of the other. */
  partition(left: readonly PeerId[], right: readonly PeerId[]): void {
    for (const a of left) for (const b of right) this.cutBoth(a, b)
  }

  setLink(from: PeerId, to: PeerId, faults: LinkFaults): void {
    this.#links.set(key(from, to), faults)
  }

  mendPartitions(): void {
    this.#cut.clear()
  }

  /** All links clean and open. */
  heal(): void {
    this.#cut.clear()
    this.#links.clear()
    this.faults = { ...CLEAN_LINK }
  }
}

function key(from: PeerId, to: PeerId): string {
  return `${from}>${to}`
}
