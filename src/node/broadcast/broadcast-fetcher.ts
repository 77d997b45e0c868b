import {
  asPeerId,
  hasCode,
  ShoalError,
  sleep,
  systemClock,
  toWire,
  type Logger,
  type PeerId,
  type Transport,
} from '../../base/index.ts'
import {
  BROADCAST,
  chunkCount,
  destroyed,
  isChunkGood,
  type BroadcastRef,
  type Requester,
} from '../../rdd/index.ts'
import type { Deliver } from '../relay.ts'
import { BroadcastSources } from './broadcast-sources.ts'
import type { BroadcastStore, SharedMemory } from './broadcast-store.ts'
import { fetchBroadcast, haveBroadcast, wantBroadcast } from './messages.ts'

export interface BroadcastFetcherParts {
  transport: Transport
  store: BroadcastStore
  deliver: Deliver
  /** Living peers, this one among them. */
  peers(): readonly PeerId[]
  /** Aborts when the executor closes. */
  signal: AbortSignal
  log: Logger
}

/** What is being fetched: pieces [0, next) are in place and verified. */
interface Fetch {
  ref: BroadcastRef
  /** Where the requester is to be found now. */
  requester: () => Requester
  bytes: SharedMemory
  next: number
  generation: number
  session: string
  sources: BroadcastSources
  tried: Set<string>
  done: Promise<void>
}

/**
 * Gets broadcasts that this peer lacks: from the peer that their requester is attached to, or from whoever that one knows
 * to have them by now. A source that dies or lies is left for another one, which goes on with the next piece; when none is
 * left, living peers are asked, and at last the requester sends it again.
 */
export class BroadcastFetcher {
  readonly #parts: BroadcastFetcherParts
  readonly #fetches = new Map<string, Fetch>()

  constructor(parts: BroadcastFetcherParts) {
    this.#parts = parts
  }

  /** Resolves when it is in the store. @throws BROADCAST_DESTROYED, BROADCAST_LOST, CANCELLED */
  async fetch(ref: BroadcastRef, session: string, requester: () => Requester): Promise<void> {
    const known = this.#fetches.get(ref.id)
    if (known !== undefined) {
      // The later job knows better where the requester is.
      known.requester = requester
      return await known.done
    }
    const fetch: Fetch = {
      ref,
      requester,
      bytes: new Uint8Array(new SharedArrayBuffer(ref.sizeBytes)),
      next: 0,
      generation: 0,
      session,
      sources: new BroadcastSources(this.#parts.transport.self),
      tried: new Set(),
      done: Promise.resolve(),
    }
    fetch.done = this.#run(fetch).finally(() => this.#fetches.delete(ref.id))
    this.#fetches.set(ref.id, fetch)
    await fetch.done
  }

  async #run(fetch: Fetch): Promise<void> {
    const { store, signal } = this.#parts
    const { ref, sources } = fetch
    const count = chunkCount(ref)
    sources.add(asPeerId(fetch.requester().relay))
    // Perhaps it is on its way to this very peer.
    if (fetch.requester().relay === this.#parts.transport.self) {
      await store.arrival(ref.id, BROADCAST.arrivalWaitMs, signal)
    }
    let heardMs = systemClock.nowMs()
    while (fetch.next < count) {
      signal.throwIfAborted()
      if (store.state(ref.id) === 'destroyed') throw destroyed(ref.id)
      if (store.state(ref.id) === 'here') return
      if (systemClock.nowMs() - heardMs > BROADCAST.patienceMs) throw lost(fetch)
      const before = fetch.next
      const source = sources.next()
      if (source === undefined) await this.#findSources(fetch)
      else await this.#askAt(fetch, source)
      if (fetch.next > before) heardMs = systemClock.nowMs()
    }
    const { session, generation } = fetch
    await store.keep({ ref, session, generation }, fetch.bytes)
  }

  async #askAt(fetch: Fetch, { peer, notBeforeMs }: { peer: PeerId; notBeforeMs: number }): Promise<void> {
    const { transport, store, signal, log } = this.#parts
    const { ref, sources } = fetch
    const { id } = ref
    const pauseMs = notBeforeMs - systemClock.nowMs()
    if (pauseMs > 0) await sleep(pauseMs, { signal })
    fetch.tried.add(peer)
    // Only there it may be about to arrive.
    const waitMs = peer === fetch.requester().relay ? BROADCAST.arrivalWaitMs : 0
    try {
      const request = { id, chunk: fetch.next, waitMs, isQuestion: false }
      const timeoutMs = waitMs + ANSWER_TIMEOUT_MS
      const { head, body } = await transport.call(peer, fetchBroadcast, request, { signal, timeoutMs })
      for (const other of head.sources) sources.add(asPeerId(other))
      switch (head.state) {
        case 'here':
          fetch.generation = head.generation
          fetch.session = head.session
          await this.#take(fetch, peer, body)
          // It ended before its time: whoever dropped it can be asked whether it has it again.
          if (fetch.next === chunkCount(ref)) this.#tellHave(peer, id)
          else sources.drop(peer)
          break
        case 'busy':
          sources.later(peer, systemClock.nowMs() + BROADCAST.againMs * (0.5 + Math.random()))
          break
        case 'unknown':
          sources.drop(peer)
          break
        case 'destroyed':
          store.destroyed(id)
      }
    } catch (error) {
      if (signal.aborted) throw error
      sources.drop(peer)
      log.debug({ broadcast: id, peer, error: toWire(error) }, 'a source of a broadcast is given up')
    }
  }

  /** What comes goes to its place; counted when a piece is whole and right. */
  async #take(fetch: Fetch, peer: PeerId, body: AsyncIterable<Uint8Array>): Promise<void> {
    const { ref, bytes } = fetch
    let at = fetch.next * BROADCAST.chunkBytes
    for await (const part of body) {
      if (at + part.byteLength > bytes.byteLength) {
        fetch.sources.ban(peer)
        return
      }
      bytes.set(part, at)
      at += part.byteLength
      while (at >= Math.min((fetch.next + 1) * BROADCAST.chunkBytes, bytes.byteLength)) {
        if (!isChunkGood(ref, bytes, fetch.next)) {
          this.#parts.log.warn({ broadcast: ref.id, peer }, 'a peer gave wrong bytes of a broadcast')
          fetch.sources.ban(peer)
          return
        }
        fetch.next += 1
        if (fetch.next === chunkCount(ref)) return
      }
    }
  }

  /** Whoever has it; if nobody does, the requester sends it again. */
  async #findSources(fetch: Fetch): Promise<void> {
    const { transport, store, deliver, signal, log } = this.#parts
    const { id } = fetch.ref
    const others = this.#parts
      .peers()
      .filter(peer => peer !== transport.self && !fetch.sources.isBanned(peer))
    for (let i = others.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1))
      ;[others[i], others[j]] = [others[j]!, others[i]!]
    }
    const request = { id, chunk: 0, waitMs: 0, isQuestion: true }
    await Promise.all(
      others.slice(0, BROADCAST.askedMax).map(async peer => {
        try {
          const { head } = await transport.call(peer, fetchBroadcast, request, {
            signal,
            timeoutMs: QUESTION_TIMEOUT_MS,
          })
          if (head.state === 'destroyed') store.destroyed(id)
          if (head.state === 'here' || head.state === 'busy') fetch.sources.add(peer)
        } catch {
          // One that does not answer has nothing.
        }
      }),
    )
    if (fetch.sources.next() !== undefined || store.state(id) !== undefined) return
    try {
      const requester = fetch.requester()
      const { state } = await deliver(requester, wantBroadcast, { id })
      if (state === 'destroyed') store.destroyed(id)
      else if (state === 'unknown') throw lost(fetch)
      else if (requester.relay === transport.self) await store.arrival(id, BROADCAST.arrivalWaitMs, signal)
      else fetch.sources.add(asPeerId(requester.relay))
    } catch (error) {
      if (hasCode(error, 'BROADCAST_LOST')) throw error
      log.debug({ broadcast: id, error: toWire(error) }, 'the requester of a broadcast does not answer')
      await sleep(REQUESTER_AGAIN_MS, { signal })
    }
  }

  #tellHave(source: PeerId, id: string): void {
    this.#parts.transport.call(source, haveBroadcast, { id }).catch(() => {
      // It need not know.
    })
  }
}

/** To a request that need not wait for anything. */
const ANSWER_TIMEOUT_MS = 5_000
/** To whether a peer has it. */
const QUESTION_TIMEOUT_MS = 1_000
/** A client that is between two peers is asked again after this. */
const REQUESTER_AGAIN_MS = 250

function lost({ ref, tried }: Fetch): ShoalError<'BROADCAST_LOST'> {
  return new ShoalError(
    'BROADCAST_LOST',
    { broadcast: ref.id, tried: [...tried] },
    `broadcast ${ref.id} (${ref.sizeBytes} bytes) is not to be had: neither from ${tried.size} peers that were asked nor from ` +
      'the program that made it',
  )
}
