import { hasCode, ShoalError, type PeerId } from '../../base/index.ts'

/**
 * Buckets of one reduce partition on the wire: `[u32 map][u32 length][bytes]` each, in ascending map order, little
 * endian. Bytes arrive in any chunking.
 */
const HEADER_BYTES = 8
/** A bucket longer than this is a lie: it would not fit a worker's memory either. */
const BUCKET_BYTES_MAX = 0x7fff_ffff

export function bucketHeader(map: number, length: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES)
  const view = new DataView(header.buffer)
  view.setUint32(0, map, true)
  view.setUint32(4, length, true)
  return header
}

/** Reads whole buckets off a body. */
export async function* readBuckets(
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ map: number; bytes: Uint8Array }> {
  let header = new Uint8Array(HEADER_BYTES)
  let headerFilled = 0
  let bucket: Uint8Array | undefined
  let filled = 0
  let map = 0
  for await (const chunk of body) {
    let at = 0
    while (at < chunk.byteLength || (bucket !== undefined && filled === bucket.byteLength)) {
      if (bucket === undefined) {
        const take = Math.min(HEADER_BYTES - headerFilled, chunk.byteLength - at)
        header.set(chunk.subarray(at, at + take), headerFilled)
        headerFilled += take
        at += take
        if (headerFilled < HEADER_BYTES) continue
        const view = new DataView(header.buffer)
        map = view.getUint32(0, true)
        const length = view.getUint32(4, true)
        if (length > BUCKET_BYTES_MAX) {
          throw new ShoalError('TOO_LARGE', {
            what: 'shuffle bucket',
            bytes: length,
            limitBytes: BUCKET_BYTES_MAX,
          })
        }
        bucket = new Uint8Array(length)
        filled = 0
        header = new Uint8Array(HEADER_BYTES)
        headerFilled = 0
      }
      const take = Math.min(bucket.byteLength - filled, chunk.byteLength - at)
      bucket.set(chunk.subarray(at, at + take), filled)
      filled += take
      at += take
      if (filled < bucket.byteLength) continue
      yield { map, bytes: bucket }
      bucket = undefined
    }
  }
  if (bucket !== undefined || headerFilled > 0) {
    throw new ShoalError('BAD_MESSAGE', {
      type: 'rdd.shuffle.fetch',
      reason: 'the body ended inside a bucket',
    })
  }
}

interface Source {
  /** The reader's: once it is aborted nobody wants the rest, and nothing is missing. */
  signal: AbortSignal
  /** Opens the stream of the maps that the peer holds, ascending. */
  open(peer: PeerId, maps: number[]): AsyncIterable<{ map: number; bytes: Uint8Array }>
}

/**
 * Buckets of all maps in map order, from many peers at once: one stream for each peer, opened ahead, so that while one
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
  const streams = new Map<string, AsyncIterator<{ map: number; bytes: Uint8Array }>>()
  const ahead = new Map<string, Promise<IteratorResult<{ map: number; bytes: Uint8Array }>>>()
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
      let result: IteratorResult<{ map: number; bytes: Uint8Array }>
      try {
        result = await ahead.get(peer)!
      } catch (error) {
        // What the other end cancelled, because it stops, is lost to this reader like anything else.
        if (hasCode(error, 'FETCH_FAILED') || source.signal.aborted) throw error
        throw fetchFailed(shuffle, map, peer, error)
      }
      if (result.done === true || result.value.map !== map) throw fetchFailed(shuffle, map, peer, undefined)
      advance(peer)
      yield result.value
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
