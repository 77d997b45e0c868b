import { bodyOf, hasCode, ShoalError, toWire, type Logger } from '../../base/index.ts'
import {
  ACCUMULATOR,
  accumulatorUpdates,
  BROADCAST,
  destroyed,
  dropBroadcast,
  type BroadcastRef,
  type BroadcastSource,
  type SharedAtRequester,
} from '../../rdd/index.ts'
import { putBroadcast, wantBroadcast } from '../broadcast/messages.ts'
import type { MeshAccess } from '../mesh-access.ts'

interface Pieces {
  bytes: Uint8Array
  filled: number
}

/** Peers that a broadcast is offered to one after the other, as each dies with it: more is the death of the mesh. */
const PUT_TRIES_MAX = 5
/** Updates that come in pieces, of as many attempts at once; the oldest begin anew. */
const ASSEMBLED_MAX = 64

/**
 * The requester's end of shared variables: sends a broadcast to the peer that it is attached to, once, and again only when
 * the peers ask for it; counts what map tasks added to accumulators.
 */
export class SharedClient {
  readonly #access: MeshAccess
  readonly #session: string
  readonly #log: Logger
  #variables: SharedAtRequester | undefined
  /** Generation of each broadcast that some peer has been sent. */
  readonly #sent = new Map<string, number>()
  readonly #sending = new Map<string, Promise<void>>()
  readonly #pieces = new Map<string, Pieces>()

  constructor(access: MeshAccess, session: string, log: Logger) {
    this.#access = access
    this.#session = session
    this.#log = log
  }

  share(variables: SharedAtRequester): void {
    this.#variables = variables
  }

  start(): void {
    this.#access.handle(wantBroadcast, ({ head: { id } }) => {
      const source = this.#variables?.broadcast(id)
      if (source === undefined) return { state: 'unknown' as const }
      if (source === 'destroyed') return { state: 'destroyed' as const }
      this.#send(source).catch((error: unknown) => {
        this.#log.debug(
          { broadcast: id, error: toWire(error) },
          'a broadcast that peers want could not be sent',
        )
      })
      return { state: 'coming' as const }
    })
    this.#access.handle(accumulatorUpdates, ({ head }) => {
      // Of whatever job of this session: the map output outlives it.
      if (!head.jobId.startsWith(`${this.#session}/`)) return {}
      const bytes = this.#assembled(head)
      if (bytes !== undefined) this.#variables?.mapUpdates(head.shuffle, head.map, bytes)
      return {}
    })
  }

  /** Sends what no peer has been sent yet. @throws BROADCAST_DESTROYED, and what keeps a peer from taking it */
  async provide(refs: readonly BroadcastRef[], signal: AbortSignal): Promise<void> {
    await Promise.all(
      refs.map(async ({ id }) => {
        const source = this.#variables?.broadcast(id)
        if (source === undefined || source === 'destroyed') throw destroyed(id)
        if (this.#sent.get(id) === source.generation) return
        await this.#send(source, signal)
      }),
    )
  }

  drop({ id }: BroadcastRef, generation: number, isDestroyed: boolean): void {
    if (!this.#sent.delete(id)) return
    this.#access
      .callLeader(dropBroadcast, { id, generation, destroyed: isDestroyed })
      .catch((error: unknown) => {
        this.#log.debug({ error: toWire(error) }, 'copies of a broadcast stay until their session ends')
      })
  }

  /** One at a time of each. */
  async #send(source: BroadcastSource, signal?: AbortSignal): Promise<void> {
    const { id } = source.ref
    let sending = this.#sending.get(id)
    if (sending === undefined) {
      sending = this.#put(source, signal).finally(() => this.#sending.delete(id))
      this.#sending.set(id, sending)
    }
    await sending
  }

  async #put({ ref, generation, bytes }: BroadcastSource, signal: AbortSignal | undefined): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#access.callAttached(
          putBroadcast,
          { session: this.#session, generation, ref },
          {
            body: bodyOf(bytes),
            timeoutMs: BROADCAST.putTimeoutMs,
            ...(signal === undefined ? {} : { signal }),
          },
        )
        this.#sent.set(ref.id, generation)
        return
      } catch (error) {
        const isGone = hasCode(error, 'UNREACHABLE') || hasCode(error, 'CONNECTION_LOST')
        if (!isGone || tries === PUT_TRIES_MAX) throw error
      }
    }
  }

  /** The whole, when its last piece has come. @throws BAD_MESSAGE for pieces that do not fit */
  #assembled(head: {
    shuffle: string
    map: number
    attempt: string
    at: number
    sizeBytes: number
    piece: Uint8Array
  }): Uint8Array | undefined {
    const { at, sizeBytes, piece } = head
    const limit = ACCUMULATOR.updateBytesMax + 1
    if (at === 0 && piece.byteLength === sizeBytes) return piece
    const key = `${head.shuffle} ${head.map} ${head.attempt}`
    if (at === 0 && sizeBytes <= limit) this.#begin(key, sizeBytes)
    const pieces = this.#pieces.get(key)
    // Said again from the beginning, or after a piece whose answer was lost.
    if (pieces === undefined || at > pieces.filled || at + piece.byteLength > pieces.bytes.byteLength) {
      const reason = `a piece at ${at} of ${sizeBytes} bytes`
      throw new ShoalError('BAD_MESSAGE', { type: accumulatorUpdates.name, reason })
    }
    pieces.bytes.set(piece, at)
    pieces.filled = Math.max(pieces.filled, at + piece.byteLength)
    if (pieces.filled < sizeBytes) return undefined
    this.#pieces.delete(key)
    return pieces.bytes
  }

  #begin(key: string, sizeBytes: number): void {
    this.#pieces.delete(key)
    this.#pieces.set(key, { bytes: new Uint8Array(sizeBytes), filled: 0 })
    const [oldest] = this.#pieces.keys()
    if (this.#pieces.size > ASSEMBLED_MAX && oldest !== undefined) this.#pieces.delete(oldest)
  }
}
