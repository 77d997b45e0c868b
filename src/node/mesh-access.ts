import type { AbortOptions, MessageType, PeerId, Reply, Transport } from '../base/index.ts'
import type { Requester } from '../rdd/index.ts'

/**
 * The mesh as a requester sees it: a client through the peer it is attached to, or a program that embeds a peer. The
 * same job and file clients work over both.
 */
export interface MeshAccess {
  /** Where results are to be sent. */
  requester(): Requester
  callLeader<Request, Head>(
    type: MessageType<Request, Head>,
    head: Request,
    options?: AbortOptions & { body?: Uint8Array },
  ): Promise<Head>
  callPeer<Request, Head>(
    peer: PeerId,
    type: MessageType<Request, Head>,
    head: Request,
    options?: AbortOptions,
  ): Promise<Reply<Head>>
  /** Asks the peer one is attached to (oneself, when embedded). */
  callAttached<Request, Head>(
    type: MessageType<Request, Head>,
    head: Request,
    options?: AbortOptions & { body?: AsyncIterable<Uint8Array>; timeoutMs?: number },
  ): Promise<Reply<Head>>
  handle: Transport['handle']
  /** Another leader serves: open jobs must be told to it. */
  onLeaderChange(listener: () => void): void
  /** Another peer stands in for this client: whoever has something for it must be told. */
  onReattached(listener: () => void): void
}
