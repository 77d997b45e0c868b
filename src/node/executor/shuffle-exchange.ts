import { pipe } from 'it-pipe'
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
import { wholeBatches } from './whole-batches.ts'

const NOTHING = new Uint8Array()

/** Hands map outputs to the reducers that ask, and gets those that this peer's own reducers need. */
export class ShuffleExchange {
  readonly #transport: Transport
  readonly #store: OutputStore

  constructor(transport: Transport, store: OutputStore) {
    this.#transport = transport
    this.#store = store
  }

  /** The body of an answer to `rdd.shuffle.fetch`. */
  async *serve(head: { shuffle: string; reduce: number; maps: number[] }): AsyncGenerator<Uint8Array> {
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
    const { body } = await this.#transport.call(peer, fetchBuckets, { shuffle, reduce, maps }, { signal })
    yield* pipe(body, readBuckets)
  }
}
