import type { z } from 'zod'
import type { AbortOptions } from './deadline.ts'
import type { PeerId } from './ids.ts'

/**
 * What the folders need of the network, as a port: `src/node` plugs in the frame channels of libp2p, tests plug in
 * memory. Every message type is declared once with the schemas of its heads; a head that does not fit is refused with
 * BAD_MESSAGE before any handler sees it. Unknown fields are dropped, so that peers of two versions can talk.
 */

/** Bodies are budgeted by class, so that one kind can never starve another into a deadlock. */
export type BodyClass = 'ingress' | 'replica' | 'fetch' | 'result'

export interface MessageType<Request, Reply> {
  /** `folder.noun.verb`, unique. */
  readonly name: string
  readonly request: z.ZodType<Request>
  readonly reply: z.ZodType<Reply>
  /** Who may send it: only peers of the mesh, or clients too. */
  readonly from: 'peers' | 'everyone'
  /** Class of the bodies that travel with it, in either direction. @default 'fetch' */
  readonly bodyClass?: BodyClass
}

export function message<Request, Reply>(
  definition: MessageType<Request, Reply>,
): MessageType<Request, Reply> {
  return definition
}

export interface CallOptions extends AbortOptions {
  /** Until the reply's head is here; a body has its own idle limit. @default 10_000 */
  timeoutMs?: number
  /** Bytes that follow the request; pulled only as fast as the remote takes them. */
  body?: AsyncIterable<Uint8Array>
}

export interface Reply<Head> {
  head: Head
  /** The bytes that follow the reply; empty when there are none. Ends cleanly or throws: a killed sender throws. */
  body: AsyncIterable<Uint8Array>
}

export interface Incoming<Head> {
  /** The authenticated sender. */
  from: PeerId
  /** True when the sender is a client (stores nothing, is no member). */
  fromClient: boolean
  head: Head
  body: AsyncIterable<Uint8Array>
  /** Aborts when the caller cancels or its connection is gone. */
  signal: AbortSignal
}

export type Handler<Request, ReplyHead> = (
  incoming: Incoming<Request>,
) => Promise<ReplyHead | { head: ReplyHead; body: AsyncIterable<Uint8Array> }> | ReplyHead

export interface Transport {
  readonly self: PeerId
  /** Asks and waits. Rejects with the remote's coded error, UNREACHABLE, CONNECTION_LOST, TIMEOUT or CANCELLED. */
  call<Request, ReplyHead>(
    to: PeerId,
    type: MessageType<Request, ReplyHead>,
    head: Request,
    options?: CallOptions,
  ): Promise<Reply<ReplyHead>>
  /** Says without waiting; at most once, may be lost. Dials when there is no connection. */
  send<Request>(to: PeerId, type: MessageType<Request, void>, head: Request): void
  /** Sets the one handler of a type. Returning `{ head, body }` streams the body after the reply's head. */
  handle<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    handler: Handler<Request, ReplyHead>,
  ): void
  /** Tells everybody who listens on a topic, by gossip: signed, unordered, may be lost, may come late. */
  publish(topic: string, data: Uint8Array): void
  /** `from` is the signed author, not the peer that passed the message on. */
  subscribe(topic: string, listener: (from: PeerId, data: Uint8Array) => void): void
  /** A hint, within milliseconds of a process's death; membership decides by its own rules. */
  onConnection(listener: (peer: PeerId, state: 'open' | 'closed') => void): void
  /** Addresses at which a peer may be dialled; keeps the union of what it is told. */
  addAddresses(peer: PeerId, addresses: readonly string[]): void
}
