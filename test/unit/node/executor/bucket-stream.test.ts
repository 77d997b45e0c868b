import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ShoalError, type PeerId } from '../../../../src/base/index.ts'
import {
  bucketHeader,
  fetchFailed,
  mergeInMapOrder,
  readBuckets,
  type BucketPiece,
} from '../../../../src/node/executor/bucket-stream.ts'
import { encodeRows, wholeBatchBytes } from '../../../../src/rdd/index.ts'
import { gather } from '../../../support/gather.ts'

interface Bucket {
  map: number
  bytes: Uint8Array
}

function framed(buckets: readonly Bucket[]): Uint8Array {
  return Buffer.concat(buckets.flatMap(({ map, bytes }) => [bucketHeader(map, bytes.byteLength), bytes]))
}

/** Pieces put together again. */
function whole(pieces: readonly BucketPiece[]): Bucket[] {
  const buckets: Bucket[] = []
  let open: Uint8Array[] = []
  for (const { map, bytes, isLast } of pieces) {
    open.push(bytes)
    if (!isLast) continue
    buckets.push({ map, bytes: Buffer.concat(open) })
    open = []
  }
  expect(open).toEqual([])
  return buckets
}

async function* cut(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0
  for (const size of sizes) {
    yield bytes.subarray(at, at + size)
    at += size
  }
  yield bytes.subarray(at)
}

describe('framing', () => {
  test('any buckets in any chunks come out as they went in', async () => {
    const bucket = fc.record({ map: fc.nat(0xffff_ffff), bytes: fc.uint8Array({ maxLength: 40 }) })
    const sizes = fc.array(fc.nat(25), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(fc.array(bucket, { maxLength: 12 }), sizes, async (buckets, chunkSizes) => {
        const read = whole(await gather(readBuckets(cut(framed(buckets), chunkSizes))))
        expect(read.map(({ map, bytes }) => ({ map, bytes: [...bytes] }))).toEqual(
          buckets.map(({ map, bytes }) => ({ map, bytes: [...bytes] })),
        )
      }),
      { numRuns: 200 },
    )
  })

  test('a body that ends inside a header or a bucket is refused, wherever it is cut', async () => {
    const bytes = framed([
      { map: 0, bytes: Uint8Array.of(1, 2, 3) },
      { map: 1, bytes: Uint8Array.of() },
      { map: 2, bytes: Uint8Array.of(4, 5) },
    ])
    const whole = new Set([0, 11, 19, bytes.byteLength])
    for (let length = 0; length <= bytes.byteLength; length++) {
      const read = gather(readBuckets(cut(bytes.subarray(0, length), [])))
      if (whole.has(length)) await read
      else await expect(read, `cut at ${length}`).rejects.toMatchObject({ code: 'BAD_MESSAGE' })
    }
  })

  test('batches of rows are never cut, and come as soon as they are whole', async () => {
    const batches = Array.from({ length: 9 }, (_, i) =>
      encodeRows(Array.from({ length: 50 * i + 1 }, () => `row ${i}`)),
    )
    const bytes = framed([{ map: 3, bytes: Buffer.concat(batches) }])
    const sizes = Array.from({ length: 100 }, () => 100)
    const pieces = await gather(readBuckets(cut(bytes, sizes)))
    expect(pieces.length).toBeGreaterThan(6)
    for (const piece of pieces)
      expect(wholeBatchBytes(piece.bytes)).toEqual({ whole: piece.bytes.length, nextBytes: 0 })
    expect(Buffer.compare(whole(pieces)[0]!.bytes, Buffer.concat(batches))).toBe(0)
  })
})

/** Peers with one byte, their map number, in each bucket. */
class Holders {
  readonly abort = new AbortController()
  readonly signal = this.abort.signal
  readonly opened: string[] = []
  readonly closed: string[] = []
  readonly failing: Record<string, { at: number; error: unknown }>

  constructor(failing: Record<string, { at: number; error: unknown }> = {}) {
    this.failing = failing
  }

  async *open(peer: PeerId, maps: number[]): AsyncGenerator<BucketPiece> {
    this.opened.push(`${peer}: ${maps.join()}`)
    try {
      for (const map of maps) {
        if (this.failing[peer]?.at === map) {
          const { error } = this.failing[peer]
          if (error === undefined) return
          throw error
        }
        yield { map, bytes: Uint8Array.of(map), isLast: true }
      }
    } finally {
      this.closed.push(peer)
    }
  }
}

const PEERS = ['a', 'b', 'a', 'c', 'b', 'a']

describe('merging', () => {
  test('buckets come in map order, over one stream for each peer', async () => {
    const holders = new Holders()
    const merged = await gather(mergeInMapOrder('s/f', PEERS, holders))
    expect(merged.map(({ map }) => map)).toEqual([0, 1, 2, 3, 4, 5])
    expect(holders.opened).toEqual(['a: 0,2,5', 'b: 1,4', 'c: 3'])
  })

  test('a peer that dies is FETCH_FAILED, which names the first map that it still had to give', async () => {
    for (const error of [
      new ShoalError('CONNECTION_LOST', { peer: 'b' }),
      new ShoalError('CANCELLED', { what: 'an executor that stops' }),
      undefined,
    ]) {
      const holders = new Holders({ b: { at: 4, error } })
      const maps: number[] = []
      const merging = (async () => {
        for await (const { map } of mergeInMapOrder('s/f', PEERS, holders)) maps.push(map)
      })()
      await expect(merging).rejects.toMatchObject({
        code: 'FETCH_FAILED',
        details: { shuffle: 's/f', map: 4, peer: 'b' },
      })
      expect(maps).toEqual([0, 1, 2, 3])
    }
  })

  test('what the holder says it has lost is passed on as it is', async () => {
    const error = fetchFailed('s/f', 2, 'a', undefined)
    await expect(gather(mergeInMapOrder('s/f', PEERS, new Holders({ a: { at: 2, error } })))).rejects.toBe(
      error,
    )
  })

  test('a peer that gives another map than it was asked for is not believed', async () => {
    const liar = {
      signal: new AbortController().signal,
      open: async function* () {
        yield { map: 1, bytes: Uint8Array.of(1), isLast: true }
      },
    }
    await expect(gather(mergeInMapOrder('s/f', ['a'], liar))).rejects.toMatchObject({
      details: { map: 0, peer: 'a' },
    })
  })

  test('the reader’s own cancellation is no loss of anything', async () => {
    const cancelled = new ShoalError('CANCELLED', { what: 'task' })
    const holders = new Holders({ a: { at: 0, error: cancelled } })
    holders.abort.abort(cancelled)
    await expect(gather(mergeInMapOrder('s/f', ['a'], holders))).rejects.toBe(cancelled)
  })

  test('a reader that stops early closes all streams', async () => {
    const holders = new Holders()
    for await (const { map } of mergeInMapOrder('s/f', PEERS, holders)) if (map === 1) break
    await expect.poll(() => holders.closed.sort()).toEqual(['a', 'b', 'c'])
  })
})
