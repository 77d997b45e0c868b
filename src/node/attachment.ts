import { hasCode, ShoalError, type PeerId } from '../base/index.ts'
import { peerStatus } from './log-messages.ts'
import type { PeerTransport } from './net/index.ts'

/** After this long a program is likely to stay, and worth a question about other peers. */
const LEARN_AFTER_MS = 1_000
/** For the next peer to answer a dial. */
const DIAL_TIMEOUT_MS = 5_000
/** For a peer to tell who else there is. */
const LEARN_TIMEOUT_MS = 10_000
/** Other peers come and go while a program stays. */
const LEARN_AGAIN_MS = 60_000
/** A peer that leaves a question open is asked for a sign of life; without one for so long, it is as good as gone. */
const PROBE_TIMEOUT_MS = 3_000
/** Peers remembered: enough to outlive any but the whole mesh. */
const PEERS_MAX = 64

export interface AttachmentOptions {
  transport: PeerTransport
  /** The peer that answered first. */
  peer: PeerId
  /** Where peers may be found; more are learnt from the mesh. */
  addresses: readonly string[]
}

/** The peer that a client asks, and another one as soon as its connection closes or it stands still. */
export class Attachment implements Disposable {
  readonly #transport: PeerTransport
  readonly #given: readonly string[]
  #learnt: readonly (readonly string[])[] = []
  #peer: PeerId
  #isLost = false
  #moving: Promise<PeerId> | undefined
  #timer: NodeJS.Timeout | undefined
  #epoch = 0
  #hasLearnt = false
  #isDisposed = false
  readonly #onMoved: (() => void)[] = []

  constructor({ transport, peer, addresses }: AttachmentOptions) {
    this.#transport = transport
    this.#peer = peer
    this.#given = addresses
    transport.onConnection((closed, state) => {
      if (closed !== this.#peer) return
      this.#isLost = state === 'closed'
      // At once: who waits for results has nothing to ask.
      if (this.#isLost) this.#moveNow()
    })
    this.#learnLater(LEARN_AFTER_MS)
  }

  /** Which peer passes on what others say to this client, and how many there were before it. */
  current(): { peer: PeerId; epoch: number } {
    return { peer: this.#peer, epoch: this.#epoch }
  }

  /** Told when another peer has taken the place of the one before. */
  onMoved(listener: () => void): void {
    this.#onMoved.push(listener)
  }

  /**
   * The peer to ask now.
   * @throws UNREACHABLE when none of the known ones answers
   */
  async peer(): Promise<PeerId> {
    if (!this.#isLost || this.#isDisposed) return this.#peer
    this.#moving ??= this.#move().finally(() => {
      this.#moving = undefined
    })
    return await this.#moving
  }

  /** A job begins, which must outlive its peer from the first moment. */
  prepare(): void {
    if (this.#hasLearnt) return
    this.#hasLearnt = true
    clearTimeout(this.#timer)
    void this.#learn()
  }

  /** A call did not get through. True when it was for want of that peer, so that the next one asks another. */
  onError(peer: PeerId, error: unknown): boolean {
    const isGone = hasCode(error, 'UNREACHABLE') || hasCode(error, 'CONNECTION_LOST')
    if (isGone && peer === this.#peer && !this.#isConnected()) this.#isLost = true
    return peer !== this.#peer || this.#isLost
  }

  /** Resolves when the peer answers. @throws CONNECTION_LOST when it does not: it stands still, and is left. */
  async probe(peer: PeerId): Promise<void> {
    try {
      await this.#transport.call(peer, peerStatus, {}, { timeoutMs: PROBE_TIMEOUT_MS })
    } catch (error) {
      if (peer === this.#peer && !this.#isLost) {
        this.#isLost = true
        this.#moveNow()
      }
      throw new ShoalError('CONNECTION_LOST', { peer }, 'the peer that one was attached to does not answer', {
        cause: error,
      })
    }
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true
    clearTimeout(this.#timer)
  }

  #isConnected(): boolean {
    return this.#transport.connections().some(({ peer }) => peer === this.#peer)
  }

  #moveNow(): void {
    // When none answers now, the next call looks again.
    this.peer().catch(() => {})
  }

  async #move(): Promise<PeerId> {
    let last: unknown
    for (const address of this.#addresses()) {
      if (this.#isDisposed) break
      try {
        const peer = await this.#transport.dialAddress(address, {
          signal: AbortSignal.timeout(DIAL_TIMEOUT_MS),
        })
        this.#peer = peer
        this.#isLost = false
        this.#epoch += 1
        this.#learnLater(LEARN_AFTER_MS)
        for (const listener of this.#onMoved) listener()
        return peer
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

  #learnLater(afterMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#learn(), afterMs)
    this.#timer.unref()
  }

  async #learn(): Promise<void> {
    this.#hasLearnt = true
    try {
      const { head } = await this.#transport.call(this.#peer, peerStatus, {}, { timeoutMs: LEARN_TIMEOUT_MS })
      const alive = head.members.filter(({ state, liveness }) => state === 'up' && liveness === 'alive')
      this.#learnt = alive.slice(0, PEERS_MAX).map(({ addresses }) => addresses)
    } catch {
      // Those known remain.
    }
    if (!this.#isDisposed) this.#learnLater(LEARN_AGAIN_MS)
  }
}
