import type { Connection, PrivateKey, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import {
  asPeerId,
  bodyOf,
  hasCode,
  pack,
  raceAbort,
  ShoalError,
  shortPeer,
  withDeadline,
} from '../../base/index.ts'
import type {
  BodyClass,
  CallOptions,
  Handler,
  Logger,
  MeshId,
  MessageType,
  PeerId,
  Reply,
  Transport,
} from '../../base/index.ts'
import { abortConnection } from './abort-connection.ts'
import { AddressBook, isLoopback, parseAddress, withPeer } from './address-book.ts'
import { BodyBudget } from './body-budget.ts'
import { discard } from './body-streams.ts'
import { BODY_BUDGETS, BODY_WINDOW_BYTES, CHANNEL_LIMITS, TRANSPORT_LIMITS } from './config.ts'
import type { ChannelLimits, TransportLimits } from './config.ts'
import { dialError } from './dial-error.ts'
import { Dispatcher, parseHead } from './dispatcher.ts'
import { FrameChannel } from './frame-channel.ts'
import type { ChannelReply } from './outbound-requests.ts'
import { GossipTopics } from './gossip-topics.ts'
import {
  checkMesh,
  decodeHello,
  encodeHello,
  FRAME_PROTOCOL,
  HELLO_VERSION,
  NAME_CHARS_MAX,
} from './hello.ts'
import type { Hello, Role } from './hello.ts'
import { createHost } from './libp2p-host.ts'
import type { Host } from './libp2p-host.ts'
import { localCall } from './local-call.ts'
import { tooLarge } from './refusals.ts'
import { streamPort } from './stream-port.ts'

export interface PeerTransportOptions {
  key: PrivateKey
  /** The mesh's secret. */
  secret: Uint8Array
  role: Role
  /** Undefined: not known yet; the first remote that knows it tells. */
  meshId?: MeshId | undefined
  /** Shown to people. At most 64 characters. */
  name: string
  /** Multiaddrs; none for a client. @default ['/ip4/127.0.0.1/tcp/0'] */
  listen?: readonly string[]
  /** Multiaddrs that others are told instead of those. @default those it listens on */
  announce?: readonly string[]
  /** Local IP address that its dials come from. @default the system's choice */
  dialFrom?: string
  /** Requests that come before `handlersComplete` is called wait for their handlers. @default false */
  handlersFollow?: boolean
  logger: Logger
  channelLimits?: Partial<ChannelLimits>
  limits?: Partial<TransportLimits>
}

/** A remote with an open channel. */
export interface ConnectedPeer {
  peer: PeerId
  role: Role
  name: string
}

interface Remote {
  hello: Hello
  /** Newest last; two after both dialled at once. */
  channels: FrameChannel[]
}

interface WaitingNote {
  type: string
  head: Uint8Array
}

/** Most streams of ours on one connection: the live channel, and those that are closing. */
const CHANNEL_STREAMS_MAX = 8
/** For everything to stop when the transport closes. */
const CLOSE_TIMEOUT_MS = 5_000

/** The transport over libp2p: one frame channel per peer pair, dialled on demand, and gossip among peers. */
export class PeerTransport implements Transport, AsyncDisposable {
  readonly self: PeerId
  readonly role: Role
  readonly #host: Host
  readonly #refused: Set<string>
  readonly #name: string
  readonly #logger: Logger
  readonly #limits: TransportLimits
  readonly #channelLimits: ChannelLimits
  readonly #budgets: Record<BodyClass, BodyBudget>
  readonly #dispatcher: Dispatcher
  readonly #remotes = new Map<PeerId, Remote>()
  readonly #channels = new Set<FrameChannel>()
  readonly #dialling = new Map<PeerId, PromiseWithResolvers<FrameChannel>>()
  readonly #notesWaiting = new Map<PeerId, WaitingNote[]>()
  readonly #addresses: AddressBook
  readonly #gossip: GossipTopics
  readonly #watchers: ((peer: PeerId, state: 'open' | 'closed') => void)[] = []
  readonly #closing = new AbortController()
  readonly #redialTimer: NodeJS.Timeout | undefined
  #meshId: MeshId | undefined
  #wanted: (() => Iterable<PeerId>) | undefined

  private constructor(host: Host, options: PeerTransportOptions, refused: Set<string>) {
    this.#host = host
    this.#refused = refused
    this.self = asPeerId(host.peerId.toString())
    this.role = options.role
    this.#name = options.name.slice(0, NAME_CHARS_MAX)
    this.#meshId = options.meshId
    this.#logger = options.logger
    this.#dispatcher = new Dispatcher(options.handlersFollow)
    this.#limits = { ...TRANSPORT_LIMITS, ...options.limits }
    this.#channelLimits = { ...CHANNEL_LIMITS, ...options.channelLimits }
    this.#budgets = {
      ingress: new BodyBudget(BODY_BUDGETS.ingress),
      replica: new BodyBudget(BODY_BUDGETS.replica),
      fetch: new BodyBudget(BODY_BUDGETS.fetch),
      result: new BodyBudget(BODY_BUDGETS.result),
    }
    this.#addresses = new AddressBook(this.#limits.addressesPerPeerMax)
    this.#gossip = new GossipTopics(host.services.pubsub, this.#limits.gossipBytesMax, options.logger)
    if (this.role === 'peer') {
      this.#redialTimer = setInterval(() => this.#redial(), this.#limits.redialIntervalMs)
      this.#redialTimer.unref()
    }
  }

  /**
   * Starts listening (a peer) and serving.
   * @throws PORT_TAKEN, CONFIG_INVALID
   */
  static async open(options: PeerTransportOptions): Promise<PeerTransport> {
    const { key, secret, role, logger, listen = ['/ip4/127.0.0.1/tcp/0'], announce, dialFrom } = options
    const refused = new Set<string>()
    const host = await createHost({
      refuses: peer => refused.has(peer),
      key,
      secret,
      role,
      logger,
      listen,
      ...(announce === undefined ? {} : { announce }),
      ...(dialFrom === undefined ? {} : { dialFrom }),
    })
    const transport = new PeerTransport(host, options, refused)
    await host.handle(
      FRAME_PROTOCOL,
      (stream, connection) => {
        transport.#adopt(stream, connection, false)
      },
      { maxInboundStreams: CHANNEL_STREAMS_MAX, maxOutboundStreams: CHANNEL_STREAMS_MAX },
    )
    return transport
  }

  /** The mesh it belongs to, once known. */
  get meshId(): MeshId | undefined {
    return this.#meshId
  }

  /** Where this peer listens, with its id: what others dial. Empty of a client. */
  addresses(): string[] {
    return this.#host.getMultiaddrs().map(String)
  }

  connections(): ConnectedPeer[] {
    return [...this.#remotes].map(([peer, { hello }]) => ({ peer, role: hello.role, name: hello.name }))
  }

  /** Where a peer may be dialled, as far as known. */
  addressesOf(peer: PeerId): string[] {
    return this.#addresses.of(peer)
  }

  /** Sets who is to be kept connected; until then it is every peer whose addresses are known. */
  setWantedPeers(wanted: () => Iterable<PeerId>): void {
    this.#wanted = wanted
  }

  // ---- asking ----

  async call<Request, ReplyHead>(
    to: PeerId,
    type: MessageType<Request, ReplyHead>,
    head: Request,
    options: CallOptions = {},
  ): Promise<Reply<ReplyHead>> {
    const { timeoutMs = 10_000, signal, body } = options
    const packed = pack(head)
    if (to === this.self) {
      return parseReply(type, await this.#callSelf(type.name, packed, options))
    }
    const bodyClass = type.bodyClass ?? 'fetch'
    const live = this.#live(to)
    if (live !== undefined) {
      return parseReply(type, await live.call(type.name, packed, { bodyClass, timeoutMs, signal, body }))
    }
    const startMs = performance.now()
    const channel = await this.#dialBefore(to, `${type.name} to ${to}`, timeoutMs, signal)
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startMs))
    return parseReply(
      type,
      await channel.call(type.name, packed, { bodyClass, timeoutMs: leftMs, signal, body }),
    )
  }

  #callSelf(type: string, head: Uint8Array, options: CallOptions): Promise<ChannelReply> {
    return localCall({
      target: () => this.#dispatcher,
      from: this.self,
      fromClient: this.role === 'client',
      to: this.self,
      type,
      head,
      windowBytes: BODY_WINDOW_BYTES,
      bodyIdleTimeoutMs: this.#channelLimits.bodyIdleTimeoutMs,
      options,
    })
  }

  send<Request>(to: PeerId, type: MessageType<Request, void>, head: Request): void {
    const packed = pack(head)
    const { headBytesMax } = this.#channelLimits
    // Told to the caller, whether there is a connection already or not.
    if (packed.byteLength > headBytesMax)
      throw tooLarge(`head of ${type.name}`, packed.byteLength, headBytesMax)
    if (to === this.self) {
      setImmediate(() => this.#onNote(this.self, this.role, type.name, packed))
      return
    }
    // Those that wait for a dial go first, even when the channel has just opened.
    const waiting = this.#notesWaiting.get(to)
    if (waiting !== undefined) {
      waiting.push({ type: type.name, head: packed })
      if (waiting.length > this.#limits.notesWaitingMax) waiting.shift()
      return
    }
    const live = this.#live(to)
    if (live !== undefined) {
      live.note(type.name, packed)
      return
    }
    this.#notesWaiting.set(to, [{ type: type.name, head: packed }])
    this.#connect(to).then(
      channel => {
        for (const note of this.#takeNotes(to)) channel.note(note.type, note.head)
      },
      (error: unknown) => {
        this.#takeNotes(to)
        this.#logger.debug({ peer: to, type: type.name, error }, 'one-way message dropped: no connection')
      },
    )
  }

  /**
   * Connects to whoever listens there: how a client attaches, and a new peer joins.
   * @throws UNREACHABLE, NOT_ADMITTED, MESH_MISMATCH
   */
  async dialAddress(address: string, options: { signal?: AbortSignal | undefined } = {}): Promise<PeerId> {
    using deadline = withDeadline(`dial of ${address}`, this.#limits.dialTimeoutMs, options.signal)
    try {
      const connection = await raceAbort(
        this.#host.dial(parseAddress(address), { signal: deadline }),
        deadline,
      )
      await this.#openChannel(connection, deadline)
      const peer = asPeerId(connection.remotePeer.toString())
      this.addAddresses(peer, [address])
      return peer
    } catch (error) {
      throw dialError(address, [address], error)
    }
  }

  // ---- answering ----

  handle<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    handler: Handler<Request, ReplyHead>,
  ): void {
    this.#dispatcher.handle(type, handler)
  }

  /** Types that have no handler by now are unknown here. */
  handlersComplete(): void {
    this.#dispatcher.complete()
  }

  /** @throws NOT_ADMITTED for a client, TOO_LARGE */
  publish(topic: string, data: Uint8Array): void {
    this.#gossip.publish(topic, data)
  }

  /** @throws NOT_ADMITTED for a client */
  subscribe(topic: string, listener: (from: PeerId, data: Uint8Array) => void): void {
    this.#gossip.subscribe(topic, listener)
  }

  /** A connection is open when its channel is: both ends have said hello. */
  onConnection(listener: (peer: PeerId, state: 'open' | 'closed') => void): void {
    this.#watchers.push(listener)
  }

  addAddresses(peer: PeerId, addresses: readonly string[]): void {
    if (peer !== this.self) this.#addresses.add(peer, addresses)
  }

  /** Ends the connections with these peers, and has none with them until they are left out again: a partition, made on purpose. */
  refuse(peers: readonly PeerId[]): void {
    this.#refused.clear()
    for (const peer of peers) this.#refused.add(peer)
    for (const connection of this.#host.getConnections()) {
      const peer = connection.remotePeer.toString()
      if (this.#refused.has(peer))
        abortConnection(connection, new Error(`connections with ${peer} are refused`))
    }
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort(new ShoalError('CANCELLED', { what: 'transport' }, 'the transport is closed'))
    clearInterval(this.#redialTimer)
    for (const channel of this.#channels) channel.close()
    using deadline = withDeadline('stop of libp2p', CLOSE_TIMEOUT_MS)
    await raceAbort(Promise.resolve(this.#host.stop()), deadline)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ---- channels ----

  /** The newest usable channel: an older one may belong to a process that is gone. */
  #live(peer: PeerId): FrameChannel | undefined {
    return this.#remotes.get(peer)?.channels.findLast(channel => channel.open)
  }

  async #dialBefore(
    peer: PeerId,
    what: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<FrameChannel> {
    using deadline = withDeadline(what, timeoutMs, signal)
    try {
      return await raceAbort(this.#connect(peer), deadline)
    } catch (error) {
      if (signal?.aborted !== true || error instanceof ShoalError) throw error
      throw new ShoalError('CANCELLED', { what }, `${what} was cancelled`, { cause: error })
    }
  }

  /** A channel to the peer: joins a dial under way, and takes one that the peer opens meanwhile. */
  #connect(peer: PeerId): Promise<FrameChannel> {
    const present = this.#dialling.get(peer)
    if (present !== undefined) return present.promise
    const dialling = Promise.withResolvers<FrameChannel>()
    this.#dialling.set(peer, dialling)
    const settle = (): void => {
      if (this.#dialling.get(peer) === dialling) this.#dialling.delete(peer)
    }
    dialling.promise.then(settle, settle)
    this.#dial(peer).then(dialling.resolve, error => {
      const live = this.#live(peer)
      if (live === undefined) dialling.reject(error)
      else dialling.resolve(live)
    })
    return dialling.promise
  }

  async #dial(peer: PeerId): Promise<FrameChannel> {
    using deadline = withDeadline(`dial of ${peer}`, this.#limits.dialTimeoutMs, this.#closing.signal)
    const addresses = this.addressesOf(peer)
    try {
      const id = peerIdFromString(peer)
      const present = this.#host.getConnections(id).find(connection => connection.status === 'open')
      if (present === undefined && addresses.length === 0) throw new Error('no address of it is known')
      const targets = addresses.map(address => withPeer(parseAddress(address), peer))
      const connection =
        present ?? (await raceAbort(this.#host.dial(targets, { signal: deadline }), deadline))
      return await this.#openChannel(connection, deadline)
    } catch (error) {
      throw dialError(peer, addresses, error)
    }
  }

  async #openChannel(connection: Connection, signal: AbortSignal): Promise<FrameChannel> {
    const stream = await raceAbort(
      connection.newStream(FRAME_PROTOCOL, { signal, maxOutboundStreams: CHANNEL_STREAMS_MAX }),
      signal,
    )
    const channel = this.#adopt(stream, connection, true)
    await raceAbort(channel.opened, signal)
    return channel
  }

  #adopt(stream: Stream, connection: Connection, dialler: boolean): FrameChannel {
    const peer = asPeerId(connection.remotePeer.toString())
    let theirs: Hello | undefined
    const dispatcher = this.#dispatcher
    const channel = new FrameChannel({
      port: streamPort(stream),
      dialler,
      remote: peer,
      hello: encodeHello({
        version: HELLO_VERSION,
        role: this.role,
        name: this.#name,
        meshId: this.#meshId,
        addresses: this.addresses(),
      }),
      onHello: (payload, opened) => {
        theirs = decodeHello(payload)
        checkMesh(this.#meshId, theirs.meshId)
        this.#meshId ??= theirs.meshId
        this.#onOpen(peer, theirs, opened, connection)
      },
      onRequest: request =>
        dispatcher.dispatch({
          type: request.type,
          head: request.head,
          from: peer,
          fromClient: theirs?.role !== 'peer',
          body: request.body,
          get signal() {
            return request.signal
          },
        }),
      onNote: (type, head) => this.#onNote(peer, theirs?.role ?? 'client', type, head),
      classOf: type => dispatcher.typeOf(type)?.bodyClass ?? 'fetch',
      budgets: this.#budgets,
      limits: this.#channelLimits,
      onClose: (reason, closed) => this.#onClosed(peer, closed, connection, reason),
    })
    // Its very first write may have failed.
    if (!channel.closed) this.#channels.add(channel)
    return channel
  }

  #onOpen(peer: PeerId, hello: Hello, channel: FrameChannel, connection: Connection): void {
    const present = this.#remotes.get(peer)
    this.#remotes.set(peer, { hello, channels: [...(present?.channels ?? []), channel] })
    if (hello.role === 'peer') {
      const remoteIsLocal = isLoopback(connection.remoteAddr.toString())
      // Another machine's loopback is not ours.
      this.addAddresses(
        peer,
        hello.addresses.filter(address => remoteIsLocal || !isLoopback(address)),
      )
    }
    this.#dialling.get(peer)?.resolve(channel)
    if (present === undefined) this.#tell(peer, 'open')
  }

  #onClosed(peer: PeerId, channel: FrameChannel, connection: Connection, reason: Error | undefined): void {
    this.#channels.delete(channel)
    if (hasCode(reason, 'MESH_MISMATCH')) {
      this.#logger.warn({ peer, reason: reason.message }, `${shortPeer(peer)} is of another mesh`)
      // It shares the secret, so gossip is running already: end all of it, and do not call again.
      this.#addresses.forget(peer)
      connection.close().catch((error: unknown) => abortConnection(connection, asError(error)))
    } else if (hasCode(reason, 'TIMEOUT') || hasCode(reason, 'TOO_LARGE')) {
      this.#logger.warn({ peer, reason: reason.message }, `gave up the connection to ${shortPeer(peer)}`)
      abortConnection(connection, reason)
    } else if (hasCode(reason, 'BAD_MESSAGE')) {
      this.#logger.warn(
        { peer, reason: reason.message },
        `closed a channel of ${shortPeer(peer)}: protocol broken`,
      )
    }
    const remote = this.#remotes.get(peer)
    if (remote === undefined || !remote.channels.includes(channel)) return
    const channels = remote.channels.filter(other => other !== channel)
    if (channels.length > 0) {
      this.#remotes.set(peer, { ...remote, channels })
      return
    }
    this.#remotes.delete(peer)
    if (!this.#closing.signal.aborted) this.#tell(peer, 'closed')
  }

  #redial(): void {
    const wanted = this.#wanted?.() ?? this.#addresses.peers()
    for (const peer of wanted) {
      if (this.#remotes.size + this.#dialling.size >= this.#limits.redialConnectionsMax) return
      if (peer === this.self || this.#remotes.has(peer) || this.#dialling.has(peer)) continue
      if (!this.#addresses.has(peer)) continue
      this.#connect(peer).catch((error: unknown) => this.#logger.debug({ peer, error }, 'peer not reached'))
    }
  }

  #takeNotes(peer: PeerId): WaitingNote[] {
    const notes = this.#notesWaiting.get(peer) ?? []
    this.#notesWaiting.delete(peer)
    return notes
  }

  async #onNote(from: PeerId, role: Role, type: string, head: Uint8Array): Promise<void> {
    try {
      const fromClient = role === 'client'
      // Late, a note is worth nothing: who has no handler for it yet does not wait for one.
      if (this.#dispatcher.typeOf(type) === undefined) return
      await this.#dispatcher.dispatch({
        type,
        head,
        from,
        fromClient,
        body: bodyOf(),
        signal: this.#closing.signal,
      })
    } catch (error) {
      this.#logger.debug({ peer: from, type, error }, 'one-way message refused')
    }
  }

  #tell(peer: PeerId, state: 'open' | 'closed'): void {
    for (const watcher of this.#watchers) {
      try {
        watcher(peer, state)
      } catch (error) {
        this.#logger.error({ peer, state, error }, 'a connection listener threw')
      }
    }
  }
}

function parseReply<Request, Head>(type: MessageType<Request, Head>, reply: ChannelReply): Reply<Head> {
  try {
    return { head: parseHead(type.name, type.reply, reply.head), body: reply.body }
  } catch (error) {
    discard(reply.body)
    throw error
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
