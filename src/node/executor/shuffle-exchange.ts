import { ShoalError, type PeerId, type Transport } from '../../base/index.ts'
import { fetchBuckets, type ShuffleLocations } from '../../rdd/index.ts'
import {
  BUCKET_BYTES_MAX,
  bucketHeader,
  fetchFailed,
  mergeInMapOrder,
  readBuckets,
  type BucketPiece,
} from './bucket-stream.ts'
import { inChunks } from './chunks.ts'
import type { OutputStore } from './output-store.ts'
import { packed, unpacked } from './packed-body.ts'
import { wholeBatches } from './whole-batches.ts'

const NOTHING = new Uint8Array()
/** What is smaller than a few packets is not compressed. */
const PACK_BYTES_MIN = 8 * 1024

interface BucketRequest {
  shuffle: string
  reduce: number
  maps: number[]
  mayPack?: boolean
}

/** Hands map outputs to the reducers that ask, and gets those that this peer's own reducers need. */
export class ShuffleExchange {
  readonly #transport: Transport
  readonly #store: OutputStore

  readonly #isFar: (peer: PeerId) => boolean
  #fetchedBytes = 0
  #wireBytes = 0

  /** @param isFar True of peers on other hosts: what comes from there is compressed. */
  constructor(transport: Transport, store: OutputStore, isFar: (peer: PeerId) => boolean) {
    this.#transport = transport
    this.#store = store
    this.#isFar = isFar
  }

  /** Bytes of buckets that came from other peers since the start, and what of them was on the wire. */
  get traffic(): { fetchedBytes: number; wireBytes: number } {
    return { fetchedBytes: this.#fetchedBytes, wireBytes: this.#wireBytes }
  }

  /** The answer to `rdd.shuffle.fetch`. */
  serve(head: BucketRequest): { head: { packed: boolean }; body: AsyncIterable<Uint8Array> } {
    const body = this.#served(head)
    if (head.mayPack !== true) return { head: { packed: false }, body }
    let bytes = 0
    for (const map of head.maps) bytes += this.#store.bucket(head.shuffle, map, head.reduce)?.sizeBytes ?? 0
    return bytes < PACK_BYTES_MIN
      ? { head: { packed: false }, body }
      : { head: { packed: true }, body: packed(body) }
  }

  async *#served(head: BucketRequest): AsyncGenerator<Uint8Array> {
    for (const map of head.maps) {
      const { sizeBytes, pieces } = this.#bucket(head.shuffle, map, head.reduce)
      if (sizeBytes > BUCKET_BYTES_MAX) {
        const details = { what: 'shuffle bucket', bytes: sizeBytes, limitBytes: BUCKET_BYTES_MAX }
        throw new ShoalError(
          'TOO_LARGE',
          details,
          `bucket ${map} of shuffle ${head.shuffle} is too large to travel: use more partitions`,
        )
      }
      yield bucketHeader(map, sizeBytes)
      let sent = 0
      for await (const piece of pieces) {
        sent += piece.byteLength
        if (piece.byteLength > 0) yield* inChunks(piece)
      }
      // Dropped while it was sent; the reader must not take what follows for the rest of it.
      if (sent !== sizeBytes) throw fetchFailed(head.shuffle, map, this.#transport.self, undefined)
    }
  }

  /** One bucket of each map output, in map order, wherever they are. */
  fetch(
    { shuffle, peers }: ShuffleLocations,
    reduce: number,
    signal: AbortSignal,
  ): AsyncIterable<{ map: number; bytes: Uint8Array }> {
    return mergeInMapOrder(shuffle, peers, {
      signal,
      open: (peer, maps) =>
        peer === this.#transport.self
          ? this.#own(shuffle, reduce, maps)
          : this.#remote(peer, shuffle, reduce, maps, signal),
    })
  }

  async *#own(shuffle: string, reduce: number, maps: number[]): AsyncGenerator<BucketPiece> {
    for (const map of maps) {
      const { sizeBytes, pieces } = this.#bucket(shuffle, map, reduce)
      let read = 0
      async function* counted(): AsyncGenerator<Uint8Array> {
        for await (const piece of pieces) {
          read += piece.byteLength
          yield piece
        }
      }
      for await (const bytes of wholeBatches(counted())) yield { map, bytes, isLast: false }
      if (read !== sizeBytes) throw fetchFailed(shuffle, map, this.#transport.self, undefined)
      yield { map, bytes: NOTHING, isLast: true }
    }
  }

  #bucket(
    shuffle: string,
    map: number,
    reduce: number,
  ): { sizeBytes: number; pieces: AsyncIterable<Uint8Array> } {
    const bucket = this.#store.bucket(shuffle, map, reduce)
    if (bucket === undefined) throw fetchFailed(shuffle, map, this.#transport.self, undefined)
    return bucket
  }

  async *#remote(
    peer: PeerId,
    shuffle: string,
    reduce: number,
    maps: number[],
    signal: AbortSignal,
  ): AsyncGenerator<BucketPiece> {
    const request = { shuffle, reduce, maps, ...(this.#isFar(peer) && { mayPack: true }) }
    const { head, body } = await this.#transport.call(peer, fetchBuckets, request, { signal })
    const wire = counted(body, bytes => (this.#wireBytes += bytes))
    const plain = head.packed ? unpacked(wire) : wire
    yield* readBuckets(counted(plain, bytes => (this.#fetchedBytes += bytes)))
  }
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  count: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    count(chunk.byteLength)
    yield chunk
  }
}
