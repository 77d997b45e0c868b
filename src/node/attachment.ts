import { hasCode, ShoalError, type PeerId } from '../base/index.ts'
import { peerStatus } from './log-messages.ts'
import type { PeerTransport } from './net/index.ts'

/** After this long a program is likely to stay, and worth a question about other peers. */
const LEARN_AFTER_MS = 1_000
/** For the next peer to answer a dial. */
const DIAL_TIMEOUT_MS = 5_000
/** For a peer to tell who else there is. */
const LEARN_TIMEOUT_MS = 10_000
/** Peers remembered: enough to outlive any but the whole mesh. */
const PEERS_MAX = 64

export interface AttachmentOptions {
  transport: PeerTransport
  /** The peer that answered first. */
  peer: PeerId
  /** Where peers may be found; more are learnt from the mesh. */
  addresses: readonly string[]
}

/**
 * The peer that a client asks, and another one when its connection closes. Files go on elsewhere in this way; jobs do not, for their
 * results come by way of the first peer.
 */
export class Attachment implements Disposable {
  readonly #transport: PeerTransport
  readonly #given: readonly string[]
  #learnt: readonly (readonly string[])[] = []
  #peer: PeerId
  #isLost = false
  #moving: Promise<PeerId> | undefined
  #timer: NodeJS.Timeout | undefined

  constructor({ transport, peer, addresses }: AttachmentOptions) {
    this.#transport = transport
    this.#peer = peer
    this.#given = addresses
    transport.onConnection((closed, state) => {
      if (closed === this.#peer) this.#isLost = state === 'closed'
    })
    this.#learnLater()
  }

  /**
   * The peer to ask now.
   * @throws UNREACHABLE when none of the known ones answers
   */
  async peer(): Promise<PeerId> {
    if (!this.#isLost) return this.#peer
    this.#moving ??= this.#move().finally(() => {
      this.#moving = undefined
    })
    return await this.#moving
  }

  /** A call did not get through: if it was for want of this peer, the next one asks another. */
  onError(peer: PeerId, error: unknown): void {
    const isGone = hasCode(error, 'UNREACHABLE') || hasCode(error, 'CONNECTION_LOST')
    if (isGone && peer === this.#peer && !this.#isConnected()) this.#isLost = true
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }

  #isConnected(): boolean {
    return this.#transport.connections().some(({ peer }) => peer === this.#peer)
  }

  async #move(): Promise<PeerId> {
    let last: unknown
    for (const address of this.#addresses()) {
      try {
        this.#peer = await this.#transport.dialAddress(address, {
          signal: AbortSignal.timeout(DIAL_TIMEOUT_MS),
        })
        this.#isLost = false
        this.#learnLater()
        return this.#peer
      } catch (error) {
        last = error
      }
    }
    const reason = last instanceof Error ? last.message : String(last)
    throw new ShoalError(
      'UNREACHABLE',
      { peer: this.#peer, reason },
      `the peer is gone, and no other one that is known answers (${reason}); is the mesh up?`,
      { cause: last },
    )
  }

  /** Those of the lost peer last: it may be on its way back. */
  #addresses(): string[] {
    const all = new Set([...this.#learnt.flat(), ...this.#given])
    const isLost = (address: string): boolean => address.includes(this.#peer)
    return [...[...all].filter(address => !isLost(address)), ...[...all].filter(isLost)]
  }

  #learnLater(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#learn(), LEARN_AFTER_MS)
    this.#timer.unref()
  }

  async #learn(): Promise<void> {
    try {
      const { head } = await this.#transport.call(this.#peer, peerStatus, {}, { timeoutMs: LEARN_TIMEOUT_MS })
      const alive = head.members.filter(({ state, liveness }) => state === 'up' && liveness === 'alive')
      this.#learnt = alive.slice(0, PEERS_MAX).map(({ addresses }) => addresses)
    } catch {
      // Those given remain.
    }
  }
}
