import { shuffled, type PeerId } from '../base/index.ts'
import type { FileServicePorts } from './file-ports.ts'
import type { BlockStatus } from './namespace-types.ts'
import type { RingPeer } from './ring.ts'

/** A holder that let a read wait is asked after the others for so long. */
const SLOW_MS = 10_000

/**
 * Whom to ask for a block: this peer, then living holders on the same host, in the same zone, anywhere, of equals the one with
 * the fewest reads of this peer under way; then those that were slow lately; then owners that may have it unreported; the dead last.
 */
export class HolderRanking {
  readonly #ports: Pick<
    FileServicePorts,
    'transport' | 'random' | 'namespace' | 'slots' | 'peers' | 'isAlive' | 'clock'
  >
  readonly #underWay = new Map<PeerId, number>()
  readonly #slowUntilMs = new Map<PeerId, number>()

  constructor(ports: FileServicePorts) {
    this.#ports = ports
  }

  order(block: BlockStatus): PeerId[] {
    const holders = new Set(this.#ports.namespace().blockOf(block.blockId)?.holders ?? block.holders)
    const others = this.#ports
      .slots()
      .writersOf(block.slot)
      .filter(peer => !holders.has(peer))
    const peers = new Map(this.#ports.peers().map(peer => [peer.peerId, peer]))
    const self = peers.get(this.#ports.transport.self)
    const nowMs = this.#ports.clock.nowMs()
    const ranked = shuffled(this.#ports.random, [...holders, ...others]).map(peer => ({
      peer,
      rank: this.#rank(peer, holders.has(peer), self, peers.get(peer), nowMs),
      underWay: this.#underWay.get(peer) ?? 0,
    }))
    return ranked.sort((a, b) => a.rank - b.rank || a.underWay - b.underWay).map(({ peer }) => peer)
  }

  /** A read from this holder begins; the result ends it. */
  begin(peer: PeerId): Disposable {
    this.#underWay.set(peer, (this.#underWay.get(peer) ?? 0) + 1)
    return {
      [Symbol.dispose]: () => {
        const left = (this.#underWay.get(peer) ?? 1) - 1
        if (left === 0) this.#underWay.delete(peer)
        else this.#underWay.set(peer, left)
      },
    }
  }

  /** It let a read wait. */
  onSlow(peer: PeerId): void {
    this.#slowUntilMs.set(peer, this.#ports.clock.nowMs() + SLOW_MS)
  }

  #rank(
    peer: PeerId,
    holds: boolean,
    self: RingPeer | undefined,
    other: RingPeer | undefined,
    nowMs: number,
  ): number {
    const slowUntilMs = this.#slowUntilMs.get(peer)
    if (slowUntilMs !== undefined && slowUntilMs <= nowMs) this.#slowUntilMs.delete(peer)
    const slow = slowUntilMs !== undefined && slowUntilMs > nowMs ? 4 : 0
    if (peer === this.#ports.transport.self) return slow
    const apart = (this.#ports.isAlive(peer) ? 0 : 16) + (holds ? 0 : 8) + slow
    if (self === undefined || other === undefined || self.zone !== other.zone) return apart + 3
    return apart + (self.host === other.host ? 1 : 2)
  }
}
