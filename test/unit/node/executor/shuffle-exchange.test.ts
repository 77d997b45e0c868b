import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { OutputStore } from '../../../../src/node/executor/output-store.ts'
import { packed } from '../../../../src/node/executor/packed-body.ts'
import { ShuffleExchange } from '../../../../src/node/executor/shuffle-exchange.ts'
import { isFar, type Place } from '../../../../src/node/far-peers.ts'
import { encodeRows, fetchBuckets } from '../../../../src/rdd/index.ts'
import { gather } from '../../../support/gather.ts'
import { MemoryNetwork, type MemoryTransport } from '../../../support/memory-transport.ts'
import { tempFolder } from '../../../support/temp-folder.ts'

const SHUFFLE = 's/f'
/** Well compressible, as columns of text are. */
const BUCKET = encodeRows(
  Array.from({ length: 20_000 }, (_, i) => [`key ${i % 100}`, `some text of row ${i}`]),
)

let folder: Awaited<ReturnType<typeof tempFolder>>
let here: MemoryTransport
let there: MemoryTransport
const places = new Map<string, Place>()

beforeEach(async () => {
  folder = await tempFolder('exchange')
  const network = new MemoryNetwork()
  here = network.join('here')
  there = network.join('there')
})

afterEach(() => folder[Symbol.asyncDispose]())

function hosts(first: string, second: string, address = '/ip4/10.0.0.2/tcp/4001'): void {
  places.set('here', { labels: { host: first }, addresses: ['/ip4/10.0.0.1/tcp/4001'] })
  places.set('there', { labels: { host: second }, addresses: [address] })
}

async function exchange(transport: MemoryTransport, bucket?: Uint8Array): Promise<ShuffleExchange> {
  const store = new OutputStore({
    directory: `${folder.path}/${transport.self}`,
    memoryBytesMax: 1e9,
    peer: transport.self,
  })
  await store.open()
  if (bucket !== undefined) {
    const id = { stage: 0, partition: 0, attempt: 0, term: 1 }
    const sealed = {
      jobId: 's/1',
      session: 's',
      id,
      shuffle: SHUFFLE,
      offsets: [0, bucket.length],
      checksum: crc32(bucket),
    }
    await store.sealMapOutput(sealed, bucket)
  }
  return new ShuffleExchange(transport, store, peer => isFar(places.get(transport.self), places.get(peer)))
}

async function fetched(
  bucket: Uint8Array,
): Promise<{ bytes: Buffer; wireBytes: number; fetchedBytes: number }> {
  const server = await exchange(there, bucket)
  there.handle(fetchBuckets, async ({ head }) => server.serve(head))
  const client = await exchange(here)
  const pieces = await gather(
    client.fetch({ shuffle: SHUFFLE, node: 0, peers: ['there'] }, 0, new AbortController().signal),
  )
  return { bytes: Buffer.concat(pieces.map(({ bytes }) => bytes)), ...client.traffic }
}

test('map outputs are compressed between hosts, and are the same at the other end', async () => {
  hosts('one', 'two')
  const { bytes, wireBytes, fetchedBytes } = await fetched(BUCKET)
  expect(bytes.equals(BUCKET)).toBe(true)
  expect(fetchedBytes).toBeGreaterThan(BUCKET.length)
  expect(wireBytes).toBeLessThan(BUCKET.length / 2)
})

test('they are not compressed on one host, by its label or because only it can reach the other', async () => {
  for (const [second, address] of [
    ['one', '/ip4/10.0.0.2/tcp/4001'],
    ['two', '/ip4/127.0.0.1/tcp/4001'],
    ['two', '/ip6/::1/tcp/4001'],
  ] as const) {
    hosts('one', second, address)
    const { bytes, wireBytes, fetchedBytes } = await fetched(BUCKET)
    expect(bytes.equals(BUCKET)).toBe(true)
    expect(wireBytes).toBe(fetchedBytes)
  }
})

test('what is small travels as it is, also between hosts', async () => {
  hosts('one', 'two')
  const small = encodeRows([['a', 'b']])
  const { bytes, wireBytes, fetchedBytes } = await fetched(small)
  expect(bytes.equals(small)).toBe(true)
  expect(wireBytes).toBe(fetchedBytes)
})

test('a compressed body that is damaged or cut off is a lost map output, never other rows', async () => {
  hosts('one', 'two')
  const server = await exchange(there, BUCKET)
  const client = await exchange(here)
  const whole = Buffer.concat(
    await gather(server.serve({ shuffle: SHUFFLE, reduce: 0, maps: [0], mayPack: true }).body),
  )
  const damaged = Buffer.from(whole)
  const middle = Math.floor(whole.length / 2)
  damaged.fill(0x5a, middle, middle + 64)
  for (const bytes of [damaged, whole.subarray(0, middle), Buffer.from('no zstd at all')]) {
    there.handle(fetchBuckets, async () => ({ head: { packed: true }, body: chunks(bytes) }))
    const all = gather(
      client.fetch({ shuffle: SHUFFLE, node: 0, peers: ['there'] }, 0, new AbortController().signal),
    )
    await expect(all).rejects.toMatchObject({
      code: 'FETCH_FAILED',
      details: { shuffle: SHUFFLE, map: 0, peer: 'there' },
    })
  }
})

test('trouble of the source reaches the reader of a compressed body as it is', async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield BUCKET
    throw new RangeError('the disk is gone')
  }
  await expect(gather(packed(failing()))).rejects.toThrow('the disk is gone')
})

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000)
}
