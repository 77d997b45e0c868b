import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { bytesOf, chunked, DhtMesh, eventually } from '../../support/dht-mesh.ts'

let mesh: DhtMesh
beforeEach(async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd'], {
    replicaStallMs: 3_000,
    lateReplicaMs: 3_000,
    recordMs: 0,
  })
})
afterEach(async () => mesh[Symbol.asyncDispose]())

describe('appends', () => {
  it('read back as all that was put and added, cut as one put would have cut it', async () => {
    let files = 0
    const text = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n'), maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(text, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 4, max: 40 }),
        fc.constantFrom('lines', 'csv', 'binary'),
        async (parts, partitionBytes, format) => {
          const client = mesh.client(['ada', 'bob', 'cyd'][files % 3]!)
          const [grown, whole] = [`/grown${files}`, `/whole${files++}`]
          const bytes = parts.map(part => Buffer.from(part))
          await client.put(grown, chunked(bytes[0]!), { format, partitionBytes })
          for (const more of bytes.slice(1)) {
            const added = await client.append(grown, chunked(more, 7))
            expect(added.appended).toBe(more.length)
          }
          await client.put(whole, chunked(Buffer.concat(bytes)), { format, partitionBytes })
          expect(await bytesOf(client.get(grown))).toEqual(Buffer.concat(bytes))
          const cuts = async (path: string): Promise<number[]> =>
            (await client.locate(path)).partitions.map(place => place.bytes)
          expect(await cuts(grown)).toEqual(await cuts(whole))
        },
      ),
      // The first partition is full and ends with a newline, but between quotes.
      { numRuns: 8, examples: [[['"', 'aa\n', 'a'], 4, 'csv']] },
    )
  })

  it('keep the version, show nothing before they are whole, and nothing at all when the source fails', async () => {
    const client = mesh.client('ada')
    await client.put('/log', chunked(Buffer.from('one\n')))
    const { fileId } = await client.stat('/log')
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('two\n')
      expect((await bytesOf(mesh.client('bob').get('/log'))).toString()).toBe('one\n')
      throw new Error('no more')
    }
    await expect(client.append('/log', broken())).rejects.toThrow()
    expect((await bytesOf(client.get('/log'))).toString()).toBe('one\n')
    // The failed one is called off at once, so that the next need not wait for its lease.
    await eventually('the append to be called off', () => mesh.namespace.openWrites() === 0)
    await client.append('/log', chunked(Buffer.from('three\n')))
    expect((await bytesOf(client.get('/log'))).toString()).toBe('one\nthree\n')
    expect((await client.stat('/log')).fileId).toBe(fileId)
  })

  it('are one at a time: the second is told so, and the first is whole', async () => {
    const client = mesh.client('ada')
    await client.put('/log', chunked(Buffer.from('one\n')))
    let second: Promise<unknown> = Promise.resolve()
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('two\n')
      second = mesh.client('bob').append('/log', chunked(Buffer.from('three\n')))
      await expect(second).rejects.toMatchObject({ code: 'WRITE_CONFLICT' })
    }
    await client.append('/log', slow())
    expect((await bytesOf(client.get('/log'))).toString()).toBe('one\ntwo\n')
  })

  it('to what is not there, or no file, are refused before a byte is read', async () => {
    const client = mesh.client('ada')
    async function* unread(): AsyncGenerator<Uint8Array> {
      yield expect.unreachable('was read')
    }
    await client.mkdir('/dir')
    await expect(client.append('/nope', unread())).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(client.append('/dir', unread())).rejects.toMatchObject({ code: 'IS_A_DIRECTORY' })
  })
})

describe('puts with a token', () => {
  const bytes = Buffer.from(Uint8Array.from({ length: 10_000 }, (_, at) => at & 0xff))
  const options = { token: 'upload-1', format: 'binary', partitionBytes: 1_000 } as const
  /** Puts so many bytes, fails when something of them is recorded, and says how many partitions are. */
  const cut = async (end: number): Promise<number> => {
    const client = mesh.client('ada')
    const recorded = (): number => mesh.namespace.openWritesAt('/up')[0]?.blocks.length ?? 0
    async function* source(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < end; at += 1_000) yield bytes.subarray(at, at + 1_000)
      await eventually('what is safe to be recorded', () => recorded() > 1)
      throw new Error('cut')
    }
    await expect(client.put('/up', source(), options)).rejects.toThrow()
    // All of them in the end, also those that were on their way when the source failed.
    await eventually('the rest to be recorded', () => recorded() === end / 1_000)
    const [open] = await client.openWrites('/up', { token: options.token })
    return open?.blocks.length ?? 0
  }

  it('go on behind the partitions that are stored, at another peer, and are whole', async () => {
    const kept = await cut(6_000)
    expect(kept).toBeGreaterThan(1)
    const client = mesh.client('bob')
    await expect(client.stat('/up')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const stored = await client.put('/up', chunked(bytes.subarray(kept * 1_000)), { ...options, from: kept })
    expect(stored).toMatchObject({ bytes: bytes.length, partitions: 10 })
    expect((await bytesOf(client.get('/up'))).equals(bytes)).toBe(true)
  })

  it('use nothing of before when they begin at the beginning', async () => {
    expect(await cut(6_000)).toBeGreaterThan(1)
    const client = mesh.client('bob')
    await client.put('/up', chunked(Buffer.from('short')), { ...options })
    expect((await bytesOf(client.get('/up'))).toString()).toBe('short')
    expect(mesh.namespace.openWrites()).toBe(0)
  })

  it('refuse to leave out what is not stored', async () => {
    const kept = await cut(3_000)
    const client = mesh.client('bob')
    const gap = client.put('/up', chunked(bytes), { ...options, from: kept + 1 })
    await expect(gap).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await expect(client.stat('/up')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('are taken over: who had it before can neither add nor commit', async () => {
    const first = mesh.client('ada')
    const taken = Promise.withResolvers<void>()
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 1_500)
      await taken.promise
      yield bytes.subarray(1_500)
    }
    const late = first.put('/up', slow(), options)
    late.catch(() => undefined)
    await eventually('the first to have begun', () => mesh.namespace.openWrites() === 1)
    await mesh.client('bob').put('/up', chunked(Buffer.from('second')), options)
    taken.resolve()
    await expect(late).rejects.toThrow(/LEASE_LOST|given up|taken over|reached 0 of/)
    expect((await bytesOf(first.get('/up'))).toString()).toBe('second')
  })
})
