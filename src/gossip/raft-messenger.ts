import { pack, unpack } from '../base/index.ts'
import type { Logger, MeshId, PeerId, Transport } from '../base/index.ts'
import { LEADER_TOPIC, publishedRaftEnvelope, raftMessageType, VOTE_TOPIC } from './messages.ts'
import type { DirectRaftMessage } from './messages.ts'
import type { RaftMessage } from './raft-types.ts'

export interface RaftMessengerInit {
  transport: Transport
  meshId: MeshId
  logger: Logger
  received: (from: PeerId, message: DirectRaftMessage) => void
  connectionClosed: (peer: PeerId) => void
}

/**
 * Raft's messages on the wire, but for snapshots, which go as bodies (`SnapshotTransfer`). A message that cannot leave is
 * a lost message, which Raft bears; one of another mesh, or that fits no schema, is not heard.
 */
export class RaftMessenger {
  readonly #transport: Transport
  readonly #meshId: MeshId
  readonly #logger: Logger
  readonly #received: (from: PeerId, message: DirectRaftMessage) => void

  constructor({ transport, meshId, logger, received, connectionClosed }: RaftMessengerInit) {
    this.#transport = transport
    this.#meshId = meshId
    this.#logger = logger
    this.#received = received
    transport.handle(raftMessageType, ({ from, head }) => {
      if (head.meshId === meshId) this.#received(from, head.message)
    })
    for (const topic of [LEADER_TOPIC, VOTE_TOPIC]) {
      transport.subscribe(topic, (from, data) => this.#onPublished(from, data))
    }
    transport.onConnection((peer, state) => {
      if (state === 'closed') connectionClosed(peer)
    })
  }

  send(to: PeerId, message: RaftMessage): void {
    this.#say(message, direct => {
      this.#transport.send(to, raftMessageType, { meshId: this.#meshId, message: direct })
    })
  }

  publish(topic: 'leader' | 'vote', message: RaftMessage): void {
    this.#say(message, direct => {
      const envelope = { meshId: this.#meshId, message: direct }
      this.#transport.publish(topic === 'vote' ? VOTE_TOPIC : LEADER_TOPIC, pack(envelope))
    })
  }

  #say(message: RaftMessage, leave: (message: DirectRaftMessage) => void): void {
    if (message.type === 'snapshot') return
    try {
      leave(message)
    } catch (error) {
      this.#logger.debug({ type: message.type, error: String(error) }, 'a message did not leave')
    }
  }

  /** The signed author is the candidate or the leader: whoever passed it on cannot speak for another. */
  #onPublished(from: PeerId, data: Uint8Array): void {
    let parsed
    try {
      parsed = publishedRaftEnvelope.safeParse(unpack(data))
    } catch {
      return
    }
    if (parsed.success && parsed.data.meshId === this.#meshId) this.#received(from, parsed.data.message)
  }
}
