import type { GossipSub } from '@chainsafe/libp2p-gossipsub'
import { asPeerId, ShoalError } from '../../base/index.ts'
import type { Logger, PeerId } from '../../base/index.ts'
import { tooLarge } from './refusals.ts'

type Listener = (from: PeerId, data: Uint8Array) => void

/** Gossip by topic over gossipsub, which checks each message's signature; of a client there is none. */
export class GossipTopics {
  readonly #pubsub: GossipSub | undefined
  readonly #bytesMax: number
  readonly #logger: Logger
  readonly #listeners = new Map<string, Listener[]>()

  constructor(pubsub: GossipSub | undefined, bytesMax: number, logger: Logger) {
    this.#pubsub = pubsub
    this.#bytesMax = bytesMax
    this.#logger = logger
    pubsub?.addEventListener('message', ({ detail: message }) => {
      if (message.type !== 'signed' || message.data.byteLength > bytesMax) return
      this.#hear(message.topic, asPeerId(message.from.toString()), message.data)
    })
  }

  /** @throws NOT_ADMITTED for a client, TOO_LARGE */
  publish(topic: string, data: Uint8Array): void {
    const pubsub = this.#started()
    if (data.byteLength > this.#bytesMax)
      throw tooLarge(`gossip on ${topic}`, data.byteLength, this.#bytesMax)
    pubsub
      .publish(topic, data)
      .catch((error: unknown) => this.#logger.debug({ topic, error }, 'gossip not sent'))
  }

  /** @throws NOT_ADMITTED for a client */
  subscribe(topic: string, listener: Listener): void {
    const listeners = this.#listeners.get(topic)
    if (listeners !== undefined) {
      listeners.push(listener)
      return
    }
    this.#started().subscribe(topic)
    this.#listeners.set(topic, [listener])
  }

  #started(): GossipSub {
    if (this.#pubsub !== undefined) return this.#pubsub
    const reason = 'a client takes no part in gossip'
    throw new ShoalError('NOT_ADMITTED', { reason }, `${reason}: ask the peer it is attached to`)
  }

  #hear(topic: string, from: PeerId, data: Uint8Array): void {
    for (const listener of this.#listeners.get(topic) ?? []) {
      try {
        listener(from, data)
      } catch (error) {
        this.#logger.error({ topic, peer: from, error }, 'a gossip listener threw')
      }
    }
  }
}
