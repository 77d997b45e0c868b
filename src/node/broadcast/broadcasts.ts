import { ShoalError, type PeerId } from '../../base/index.ts'
import { BROADCAST, chunkCount, isChunkGood, type BroadcastRef, type Requester } from '../../rdd/index.ts'
import { BroadcastFetcher, type BroadcastFetcherParts } from './broadcast-fetcher.ts'
import { BroadcastStore, type SharedMemory } from './broadcast-store.ts'
import { fetchBroadcast, haveBroadcast, putBroadcast } from './messages.ts'

export interface SharedBroadcast {
  id: string
  bytes: SharedMemory
}

export interface BroadcastsOptions extends Omit<BroadcastFetcherParts, 'store'> {
  /** For what does not fit into memory; emptied at start and end by whoever it belongs to. */
  directory: string
  /** Bytes of broadcasts in memory; the least recently used beyond it are in files. */
  memoryBytesMax: number
}

/** The broadcasts of a peer: takes them from requesters and peers, gives them to its workers and to other peers. */
export class Broadcasts {
  readonly store: BroadcastStore
  readonly #options: BroadcastsOptions
  readonly #fetcher: BroadcastFetcher
  /** Who has it from here: the latest last. */
  readonly #holders = new Map<string, Set<PeerId>>()
  /** Peers that are being given it now. */
  readonly #served = new Map<string, number>()

  constructor(options: BroadcastsOptions) {
    this.#options = options
    const { directory, memoryBytesMax, transport } = options
    this.store = new BroadcastStore({ directory, memoryBytesMax, peer: transport.self })
    this.#fetcher = new BroadcastFetcher({ ...options, store: this.store })
  }

  start(): void {
    const { transport, signal } = this.#options
    transport.handle(putBroadcast, async ({ head, body }) => {
      const { ref, session, generation } = head
      await this.store.keep({ ref, session, generation }, await received(ref, body))
      return {}
    })
    transport.handle(fetchBroadcast, async ({ head, signal: gone }) => {
      const { id, chunk, waitMs, isQuestion } = head
      if (waitMs > 0) await this.store.arrival(id, waitMs, AbortSignal.any([signal, gone]))
      const stored = this.store.stored(id)
      const destroyed = this.store.state(id) === 'destroyed'
      const sources = [...(this.#holders.get(id) ?? [])]
      const { session = '', generation = 0 } = stored ?? {}
      const reply = { session, generation, sources }
      if (stored === undefined) {
        return { ...reply, state: destroyed ? ('destroyed' as const) : ('unknown' as const) }
      }
      if (isQuestion) return { ...reply, state: 'here' as const }
      if ((this.#served.get(id) ?? 0) >= BROADCAST.servedMax) return { ...reply, state: 'busy' as const }
      return { head: { ...reply, state: 'here' as const }, body: this.#serve(id, chunk) }
    })
    transport.handle(haveBroadcast, ({ from, head }) => {
      // Only of what is here: others' words cost memory.
      if (this.store.state(head.id) !== 'here') return {}
      const holders = this.#holders.get(head.id) ?? new Set()
      this.#holders.set(head.id, holders)
      holders.delete(from)
      holders.add(from)
      const [oldest] = holders
      if (holders.size > BROADCAST.sourcesMax && oldest !== undefined) holders.delete(oldest)
      return {}
    })
  }

  /** All of them, as workers read them; those that are not here are fetched. @throws BROADCAST_DESTROYED, BROADCAST_LOST, DISK_FULL */
  async ready(
    refs: readonly BroadcastRef[],
    session: string,
    requester: () => Requester,
  ): Promise<SharedBroadcast[]> {
    return await Promise.all(
      refs.map(async ref => {
        for (;;) {
          if (this.store.state(ref.id) !== 'here') await this.#fetcher.fetch(ref, session, requester)
          const bytes = await this.store.bytes(ref.id)
          if (bytes !== undefined) return { id: ref.id, bytes }
        }
      }),
    )
  }

  async forget(id: string, generation: number, destroyed: boolean): Promise<void> {
    this.#holders.delete(id)
    await this.store.forget(id, generation, destroyed)
  }

  /** Ids of what went. */
  async dropSession(session: string): Promise<string[]> {
    const dropped = await this.store.dropSession(session)
    for (const id of dropped) this.#holders.delete(id)
    return dropped
  }

  async close(): Promise<void> {
    await this.store.close()
  }

  async *#serve(id: string, chunk: number): AsyncGenerator<Uint8Array, void, undefined> {
    this.#served.set(id, (this.#served.get(id) ?? 0) + 1)
    try {
      yield* this.store.pieces(id, chunk)
    } finally {
      const left = (this.#served.get(id) ?? 1) - 1
      if (left === 0) this.#served.delete(id)
      else this.#served.set(id, left)
    }
  }
}

/** @throws TOO_LARGE, BAD_MESSAGE for bytes that are not those of the reference */
async function received(ref: BroadcastRef, body: AsyncIterable<Uint8Array>): Promise<SharedMemory> {
  const { id, sizeBytes } = ref
  if (sizeBytes > BROADCAST.valueBytesMax) {
    throw new ShoalError('TOO_LARGE', {
      what: 'broadcast',
      bytes: sizeBytes,
      limitBytes: BROADCAST.valueBytesMax,
    })
  }
  const count = chunkCount(ref)
  const bytes = new Uint8Array(new SharedArrayBuffer(sizeBytes))
  let at = 0
  let good = 0
  for await (const part of body) {
    if (at + part.byteLength > sizeBytes) throw wrong(id, 'more bytes than it has')
    bytes.set(part, at)
    at += part.byteLength
    // As they come: all at once would hold up this thread for seconds.
    while (good < count && at >= Math.min((good + 1) * BROADCAST.chunkBytes, sizeBytes)) {
      if (!isChunkGood(ref, bytes, good))
        throw wrong(id, `bytes that differ from its checksum in piece ${good}`)
      good += 1
    }
  }
  if (at < sizeBytes) throw wrong(id, `${at} of ${sizeBytes} bytes`)
  return bytes
}

function wrong(id: string, what: string): ShoalError<'BAD_MESSAGE'> {
  const reason = `${what} of broadcast ${id}`
  return new ShoalError('BAD_MESSAGE', { type: putBroadcast.name, reason }, `there came ${reason}`)
}
