import { hasCode, ShoalError, type PeerId } from '../../base/index.ts'
import { wholeBatches } from './whole-batches.ts'

/**
 * Buckets of one reduce partition on the wire: `[u32 map][u32 length][bytes]` each, in ascending map order, little
 * endian. Bytes arrive in any chunking.
 */
const HEADER_BYTES = 8
/** What the header can say. */
export const BUCKET_BYTES_MAX = 0xffff_ffff

export function bucketHeader(map: number, length: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES)
  const view = new DataView(header.buffer)
  view.setUint32(0, map, true)
  view.setUint32(4, length, true)
  return header
}

/** Part of a bucket: whole batches. The last one of a bucket may be empty. */
export interface BucketPiece {
  map: number
  bytes: Uint8Array
  isLast: boolean
}

const NOTHING = new Uint8Array()

/** Reads buckets off a body, a few batches at a time. */
export async function* readBuckets(body: AsyncIterable<Uint8Array>): AsyncGenerator<BucketPiece> {
  const chunks = body[Symbol.asyncIterator]()
  let chunk: Uint8Array = NOTHING
  /** Up to so many bytes as they come; none at the end of the body. */
  const some = async (bytes: number): Promise<Uint8Array> => {
    while (chunk.byteLength === 0) {
      const { done, value } = await chunks.next()
      if (done === true) return NOTHING
      chunk = value
    }
    const taken = chunk.subarray(0, bytes)
    chunk = chunk.subarray(taken.byteLength)
    return taken
  }
  async function* upTo(bytes: number): AsyncGenerator<Uint8Array> {
    for (let left = bytes; left > 0;) {
      const taken = await some(left)
      if (taken.byteLength === 0) throw endedEarly()
      left -= taken.byteLength
      yield taken
    }
  }
  try {
    for (let first = await some(HEADER_BYTES); first.byteLength > 0; first = await some(HEADER_BYTES)) {
      const header = new Uint8Array(HEADER_BYTES)
      header.set(first)
      let filled = first.byteLength
      for await (const part of upTo(HEADER_BYTES - filled)) {
        header.set(part, filled)
        filled += part.byteLength
      }
      const view = new DataView(header.buffer)
      const map = view.getUint32(0, true)
      for await (const bytes of wholeBatches(upTo(view.getUint32(4, true))))
        yield { map, bytes, isLast: false }
      yield { map, bytes: NOTHING, isLast: true }
    }
  } finally {
    await chunks.return?.()
  }
}

function endedEarly(): ShoalError {
  return new ShoalError('BAD_MESSAGE', {
    type: 'rdd.shuffle.fetch',
    reason: 'the body ended inside a bucket',
  })
}

interface Source {
  /** The reader's: once it is aborted nobody wants the rest, and nothing is missing. */
  signal: AbortSignal
  /** Opens the stream of the maps that the peer holds, ascending. */
  open(peer: PeerId, maps: number[]): AsyncIterable<BucketPiece>
}

/**
 * Buckets of all maps in map order, each in pieces of whole batches, from many peers at once: one stream for each peer, opened ahead, so that while one
 * is read the others fill their credit. Any trouble is FETCH_FAILED and names the map output that is missing.
 */
export async function* mergeInMapOrder(
  shuffle: string,
  peers: readonly string[],
  source: Source,
): AsyncGenerator<{ map: number; bytes: Uint8Array }> {
  const mapsOf = new Map<string, number[]>()
  peers.forEach((peer, map) => {
    const maps = mapsOf.get(peer)
    if (maps === undefined) mapsOf.set(peer, [map])
    else maps.push(map)
  })
  const streams = new Map<string, AsyncIterator<BucketPiece>>()
  const ahead = new Map<string, Promise<IteratorResult<BucketPiece>>>()
  const advance = (peer: string): void => {
    const next = streams.get(peer)!.next()
    // Looked at when its turn comes; until then a failure must not count as unhandled.
    next.catch(() => {})
    ahead.set(peer, next)
  }
  try {
    for (const [peer, maps] of mapsOf) {
      streams.set(peer, source.open(peer as PeerId, maps)[Symbol.asyncIterator]())
      advance(peer)
    }
    for (const [map, peer] of peers.entries()) {
      for (let isLast = false; !isLast;) {
        let result: IteratorResult<BucketPiece>
        try {
          result = await ahead.get(peer)!
        } catch (error) {
          // What the other end cancelled, because it stops, is lost to this reader like anything else.
          if (hasCode(error, 'FETCH_FAILED') || source.signal.aborted) throw error
          throw fetchFailed(shuffle, map, peer, error)
        }
        if (result.done === true || result.value.map !== map) {
          throw fetchFailed(shuffle, map, peer, undefined)
        }
        advance(peer)
        const { bytes } = result.value
        isLast = result.value.isLast
        if (bytes.byteLength > 0 || isLast) yield { map, bytes }
      }
    }
  } finally {
    for (const stream of streams.values()) void stream.return?.().catch(() => {})
  }
}

export function fetchFailed(shuffle: string, map: number, peer: string, cause: unknown): ShoalError {
  return new ShoalError(
    'FETCH_FAILED',
    { shuffle, map, peer },
    `map output ${map} of shuffle ${shuffle} could not be read from ${peer}`,
    { cause },
  )
}
