import { pipe } from 'it-pipe'
import type { PeerId, Transport } from '../../base/index.ts'
import { fetchBuckets, type ShuffleLocations } from '../../rdd/index.ts'
import { bucketHeader, fetchFailed, mergeInMapOrder, readBuckets } from './bucket-stream.ts'
import { inChunks } from './chunks.ts'
import type { OutputStore } from './output-store.ts'

interface Bucket {
  map: number
  bytes: Uint8Array
}

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
    for await (const { map, bytes } of this.#own(head.shuffle, head.reduce, head.maps)) {
      yield bucketHeader(map, bytes.byteLength)
      if (bytes.byteLength > 0) yield* inChunks(bytes)
    }
  }

  /** One bucket of each map output, in map order, wherever they are. */
  fetch({ shuffle, peers }: ShuffleLocations, reduce: number, signal: AbortSignal): AsyncIterable<Bucket> {
    return mergeInMapOrder(shuffle, peers, {
      signal,
      open: (peer, maps) =>
        peer === this.#transport.self
          ? this.#own(shuffle, reduce, maps)
          : this.#remote(peer, shuffle, reduce, maps, signal),
    })
  }

  async *#own(shuffle: string, reduce: number, maps: number[]): AsyncGenerator<Bucket> {
    for (const map of maps) {
      const bytes = await this.#store.bucket(shuffle, map, reduce)
      if (bytes === undefined) throw fetchFailed(shuffle, map, this.#transport.self, undefined)
      yield { map, bytes }
    }
  }

  async *#remote(
    peer: PeerId,
    shuffle: string,
    reduce: number,
    maps: number[],
    signal: AbortSignal,
  ): AsyncGenerator<Bucket> {
    const { body } = await this.#transport.call(peer, fetchBuckets, { shuffle, reduce, maps }, { signal })
    yield* pipe(body, readBuckets)
  }
}
