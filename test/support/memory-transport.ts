import { asPeerId, bodyOf, pack, ShoalError } from '../../src/base/index.ts'
import type { CallOptions, Handler, MessageType, PeerId, Reply, Transport } from '../../src/base/index.ts'
import { Dispatcher, parseHead } from '../../src/node/net/dispatcher.ts'
import { localCall } from '../../src/node/net/local-call.ts'
import { connectionLost } from '../../src/node/net/refusals.ts'

export interface MemoryNetworkOptions {
  /** Bytes of a body under way before its source waits. @default 2 MiB, as on the wire */
  windowBytes?: number
  /** A body that nobody reads or feeds for this long fails. @default 30_000 */
  bodyIdleTimeoutMs?: number
}

/** What is under way over one pair of peers; `lost` ends all of it. */
interface Link {
  ends: readonly [PeerId, PeerId]
  pending: Set<() => void>
}

/**
 * Peers in one process with the semantics of the real transport: heads are packed and checked on both sides, bodies
 * stream inside a window, a killed or cut off peer makes pending calls and bodies throw CONNECTION_LOST.
 * Everything arrives in a later turn of the event loop, and what one peer sends another arrives in order.
 */
export class MemoryNetwork {
  readonly windowBytes: number
  readonly bodyIdleTimeoutMs: number
  readonly #transports = new Map<PeerId, MemoryTransport>()
  readonly #links = new Map<string, Link>()
  readonly #blocked = new Set<string>()

  constructor(options: MemoryNetworkOptions = {}) {
    this.windowBytes = options.windowBytes ?? 2 * 1024 * 1024
    this.bodyIdleTimeoutMs = options.bodyIdleTimeoutMs ?? 30_000
  }

  /** A transport for this name; joining again after `kill` is a restarted process with no handlers. */
  join(name: string, role: 'peer' | 'client' = 'peer'): MemoryTransport {
    const id = asPeerId(name)
    if (this.#transports.has(id)) throw new Error(`${name} is already in the network: kill it first`)
    const transport = new MemoryTransport(this, id, role)
    this.#transports.set(id, transport)
    return transport
  }

  /** As SIGKILL: nothing it says or hears any more; the others notice at once. */
  kill(name: string): void {
    const id = asPeerId(name)
    this.#transports.delete(id)
    for (const link of this.#links.values()) if (link.ends.includes(id)) this.#lose(link)
  }

  /** Cuts two peers off from each other, in both directions, until `unblock`. */
  block(a: string, b: string): void {
    const key = keyOf(asPeerId(a), asPeerId(b))
    this.#blocked.add(key)
    const link = this.#links.get(key)
    if (link !== undefined) this.#lose(link)
  }

  unblock(a: string, b: string): void {
    this.#blocked.delete(keyOf(asPeerId(a), asPeerId(b)))
  }

  /** Ends all partitions. */
  heal(): void {
    this.#blocked.clear()
  }

  /** @internal The running transport that `from` can reach under this id; itself too. */
  reach(from: MemoryTransport, to: PeerId): MemoryTransport | undefined {
    // A transport left over from before a `kill` is a dead process, even when its name is back.
    if (this.#transports.get(from.self) !== from) return undefined
    return this.#blocked.has(keyOf(from.self, to)) ? undefined : this.#transports.get(to)
  }

  /** @internal The connection between the two, made when there is none; UNREACHABLE when it cannot be. */
  link(from: MemoryTransport, to: PeerId): Link {
    if (this.reach(from, to) === undefined) {
      throw new ShoalError('UNREACHABLE', { peer: to }, `${from.self} cannot reach ${to}`)
    }
    const key = keyOf(from.self, to)
    const present = this.#links.get(key)
    if (present !== undefined) return present
    const link: Link = { ends: [from.self, to], pending: new Set() }
    this.#links.set(key, link)
    this.#tell(link, 'open')
    return link
  }

  /** @internal Gossip reaches whoever is connected to the author by a chain of peers that can talk. */
  gossip(from: MemoryTransport, topic: string, data: Uint8Array): void {
    const reached = new Set([from])
    for (const hop of reached) {
      for (const [id, transport] of this.#transports) {
        if (transport.role === 'peer' && this.reach(hop, id) !== undefined) reached.add(transport)
      }
    }
    reached.delete(from)
    for (const transport of reached) transport.hear(topic, from.self, data.slice())
  }

  #lose(link: Link): void {
    this.#links.delete(keyOf(...link.ends))
    const pending = [...link.pending]
    link.pending.clear()
    for (const lost of pending) lost()
    this.#tell(link, 'closed')
  }

  #tell({ ends: [a, b] }: Link, state: 'open' | 'closed'): void {
    this.#transports.get(a)?.notice(b, state)
    this.#transports.get(b)?.notice(a, state)
  }
}

export class MemoryTransport implements Transport {
  readonly self: PeerId
  readonly role: 'peer' | 'client'
  readonly #network: MemoryNetwork
  /** @internal */
  readonly dispatcher = new Dispatcher()
  readonly #topics = new Map<string, ((from: PeerId, data: Uint8Array) => void)[]>()
  readonly #watchers: ((peer: PeerId, state: 'open' | 'closed') => void)[] = []

  constructor(network: MemoryNetwork, self: PeerId, role: 'peer' | 'client') {
    this.#network = network
    this.self = self
    this.role = role
  }

  async call<Request, ReplyHead>(
    to: PeerId,
    type: MessageType<Request, ReplyHead>,
    head: Request,
    options: CallOptions = {},
  ): Promise<Reply<ReplyHead>> {
    const packed = pack(head)
    const link = to === this.self ? undefined : this.#network.link(this, to)
    const reply = await localCall({
      target: () => this.#network.reach(this, to)?.dispatcher,
      from: this.self,
      fromClient: this.role === 'client',
      to,
      type: type.name,
      head: packed,
      windowBytes: this.#network.windowBytes,
      bodyIdleTimeoutMs: this.#network.bodyIdleTimeoutMs,
      options,
      onLost: lose => {
        const lost = (): void => lose(connectionLost(to), connectionLost(this.self))
        link?.pending.add(lost)
        return () => link?.pending.delete(lost)
      },
    })
    try {
      return { head: parseHead(type.name, type.reply, reply.head), body: reply.body }
    } catch (error) {
      await reply.body[Symbol.asyncIterator]().return?.()
      throw error
    }
  }

  send<Request>(to: PeerId, type: MessageType<Request, void>, head: Request): void {
    const packed = pack(head)
    setImmediate(() => {
      const target = this.#network.reach(this, to)
      if (target === undefined) return
      if (target !== this) this.#network.link(this, to)
      const { self: from, role } = this
      const fromClient = role === 'client'
      const { signal } = new AbortController()
      // One-way: a refusal or failure is the receiver's affair.
      target.dispatcher
        .dispatch({ type: type.name, head: packed, from, fromClient, body: bodyOf(), signal })
        .catch(() => undefined)
    })
  }

  handle<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    handler: Handler<Request, ReplyHead>,
  ): void {
    this.dispatcher.handle(type, handler)
  }

  publish(topic: string, data: Uint8Array): void {
    const copy = data.slice()
    setImmediate(() => this.#network.gossip(this, topic, copy))
  }

  subscribe(topic: string, listener: (from: PeerId, data: Uint8Array) => void): void {
    const listeners = this.#topics.get(topic) ?? []
    listeners.push(listener)
    this.#topics.set(topic, listeners)
  }

  onConnection(listener: (peer: PeerId, state: 'open' | 'closed') => void): void {
    this.#watchers.push(listener)
  }

  /** Names are addresses here. */
  addAddresses(): void {}

  /** @internal */
  hear(topic: string, from: PeerId, data: Uint8Array): void {
    for (const listener of this.#topics.get(topic) ?? []) listener(from, data)
  }

  /** @internal */
  notice(peer: PeerId, state: 'open' | 'closed'): void {
    for (const watcher of this.#watchers) setImmediate(watcher, peer, state)
  }
}

function keyOf(a: PeerId, b: PeerId): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
