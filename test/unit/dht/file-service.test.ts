import * as fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { hasCode, sleep, type ErrorCode } from '../../../src/base/index.ts'
import type { FileOptions } from '../../../src/dht/index.ts'
import { blockRead, blockWrite } from '../../../src/dht/messages.ts'
import { bytesOf, chunked, DhtMesh, eventually } from '../../support/dht-mesh.ts'

/** Small buffers, so that small files are large ones; times that a busy machine keeps. */
const QUICK: Partial<FileOptions> = {
  replayBytes: 32 * 1024,
  replicaQueueBytes: 32 * 1024,
  replicaStallMs: 3_000,
  lateReplicaMs: 3_000,
  readHeadTimeoutMs: 3_000,
  readIdleMs: 3_000,
  readRetryMs: 10,
  prefetchBytes: 32 * 1024,
}
const THREE = ['ada', 'bob', 'cyd']
const FIVE = [...THREE, 'dan', 'eve']

let mesh: DhtMesh
const start = async (names: readonly string[], options: Partial<FileOptions> = QUICK): Promise<DhtMesh> => {
  mesh = await DhtMesh.start(names, options)
  return mesh
}
afterEach(async () => mesh?.[Symbol.asyncDispose]())

const coded = (code: ErrorCode) => (error: unknown) => hasCode(error, code)

/** Different at each offset, so that a lost, doubled or moved byte shows. */
function patterned(length: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4))
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + seed, 2654435761)
  return new Uint8Array(words.buffer, 0, length)
}

describe('file service: what goes in comes out', () => {
  it('gives back the bytes that went in, whatever sizes, cuts and chunks', async () => {
    const { namespace } = await start(THREE)
    let files = 0
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 2_000 }),
        fc.integer({ min: 1, max: 700 }),
        fc.integer({ min: 1, max: 900 }),
        fc.constantFrom('lines', 'csv', 'binary'),
        async (bytes, partitionBytes, chunkBytes, format) => {
          const path = `/f${files++}`
          const { service } = mesh.peer(THREE[files % 3]!)
          const put = await service.put(path, chunked(bytes, chunkBytes), { format, partitionBytes })
          expect(put.bytes).toBe(bytes.length)
          expect(put.partitions).toBe(namespace.blocksOf(path).length)
          const opened = await mesh.peer(THREE[(files + 1) % 3]!).service.open(path)
          expect(opened.bytes).toBe(bytes.length)
          expect(await bytesOf(opened.body)).toEqual(Buffer.from(bytes))
        },
      ),
      { numRuns: 25 },
    )
  })

  it.each([
    ['an empty file', new Uint8Array(0)],
    ['no newline at the end', Buffer.from('one\ntwo')],
    ['only newlines', Buffer.from('\n\n\n\n\n\n')],
    [
      'a line longer than its partition',
      Buffer.concat([patterned(50_000).map(b => b | 0x10), Buffer.from('\nx\n')]),
    ],
    ['bytes that are no UTF-8', Uint8Array.of(0xff, 0xfe, 0x0a, 0xc3, 0x28, 0x0a, 0x80)],
  ])('keeps %s as it is', async (_name, bytes) => {
    await start(THREE)
    const client = mesh.client('ada')
    await client.put('/file', chunked(bytes), { partitionBytes: 4 })
    expect(await bytesOf(mesh.client('bob').get('/file'))).toEqual(Buffer.from(bytes))
    expect(await client.stat('/file')).toMatchObject({ type: 'file', sizeBytes: bytes.length })
  })

  it('streams a file of many partitions through bounded queues to three owners each', async () => {
    const { namespace } = await start(FIVE)
    const bytes = patterned(1_500_000)
    const put = await mesh
      .client('ada')
      .put('/big', chunked(bytes), { partitionBytes: 100_000, format: 'binary' })
    expect(put).toMatchObject({ bytes: bytes.length, partitions: 15 })
    expect(put.degraded).toBeUndefined()
    for (const block of namespace.blocksOf('/big')) {
      expect(block.holders).toEqual(mesh.slots.row(block.slot).owners)
      for (const holder of block.holders) {
        expect(await mesh.peer(holder).store.verify(block.blockId)).toMatchObject({ sha256: block.sha256 })
      }
    }
    expect(await bytesOf(mesh.client('eve').get('/big'))).toEqual(Buffer.from(bytes))
  })

  it('serves any range as the slice of the file', async () => {
    await start(THREE)
    const bytes = Buffer.from(patterned(3_000))
    const client = mesh.client('ada')
    await client.put('/r', chunked(bytes, 700), { partitionBytes: 256, format: 'binary' })
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: -3_500, max: 3_500 }),
        fc.integer({ min: 0, max: 3_500 }),
        async (from, end) => {
          const start = from < 0 ? Math.max(0, bytes.length + from) : from
          expect(await bytesOf(client.get('/r', { start: from, end }))).toEqual(
            bytes.subarray(start, Math.max(end, start)),
          )
        },
      ),
      { numRuns: 40 },
    )
    expect(await bytesOf(client.get('/r', { partition: 2, start: 6, end: 16 }))).toEqual(
      bytes.subarray(518, 528),
    )
    await expect(bytesOf(client.get('/r', { partition: 12 }))).rejects.toSatisfy(coded('NOT_FOUND'))
  })

  it('shows the first and the last lines as head and tail do', async () => {
    await start(THREE)
    const client = mesh.client('ada')
    let files = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('', 'a', 'word', 'x'.repeat(90_000)), { maxLength: 12 }),
        fc.boolean(),
        fc.integer({ min: 0, max: 14 }),
        async (lines, newlineAtEnd, wanted) => {
          const text = lines.join('\n') + (newlineAtEnd && lines.length > 0 ? '\n' : '')
          const path = `/t${files++}`
          await client.put(path, chunked(Buffer.from(text)), { partitionBytes: 40_000 })
          // What split gives behind a last newline is no line.
          const all = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
          expect(String(await client.head(path, wanted))).toBe(all.slice(0, wanted).join(''))
          expect(String(await client.tail(path, wanted))).toBe(
            wanted === 0 ? '' : all.slice(-wanted).join(''),
          )
        },
      ),
      { numRuns: 25 },
    )
  })
})

describe('file service: owners that fail during a put', () => {
  it('commits with the two that remain when one dies', async () => {
    const { namespace } = await start(THREE)
    const bytes = patterned(600_000)
    async function* source() {
      yield* chunked(bytes.subarray(0, 300_000))
      mesh.kill('cyd', { noticed: false })
      yield* chunked(bytes.subarray(300_000))
    }
    const put = await mesh.client('ada').put('/f', source(), { partitionBytes: 400_000, format: 'binary' })
    expect(put).toMatchObject({ bytes: 600_000, partitions: 2, degraded: 2 })
    for (const block of namespace.blocksOf('/f')) expect([...block.holders].sort()).toEqual(['ada', 'bob'])
    expect(await bytesOf(mesh.client('bob').get('/f'))).toEqual(Buffer.from(bytes))
  })

  it('fails with a coded error and shows nothing when two of three die', async () => {
    await start(THREE)
    async function* source() {
      yield* chunked(patterned(300_000))
      mesh.kill('bob', { noticed: false })
      mesh.kill('cyd', { noticed: false })
      yield* chunked(patterned(300_000))
    }
    await expect(
      mesh.peer('ada').service.put('/f', source(), { partitionBytes: 2 ** 20, format: 'binary' }),
    ).rejects.toSatisfy(coded('UNDER_REPLICATED'))
    expect(mesh.namespace.exists('/f')).toBe(false)
    await eventually('the lease is given up', () => mesh.applied.at(-1)?.type === 'abandon-file')
  })

  it('lets other peers take the place of owners that are dead when the block begins', async () => {
    const { namespace } = await start(FIVE)
    mesh.kill('dan', { noticed: false })
    mesh.kill('eve', { noticed: false })
    // Small partitions, so that some slot is sure to have lost two of its owners.
    const bytes = patterned(20_000)
    await mesh.client('ada').put('/f', chunked(bytes, 1_000), { partitionBytes: 1_000, format: 'binary' })
    const blocks = namespace.blocksOf('/f')
    const lostTwo = blocks.filter(
      ({ slot }) => mesh.slots.row(slot).owners.filter(p => ['dan', 'eve'].includes(p)).length === 2,
    )
    expect(lostTwo.length).toBeGreaterThan(0)
    for (const { holders } of blocks) {
      expect(holders.length).toBeGreaterThanOrEqual(2)
      for (const holder of holders) expect(THREE).toContain(holder)
    }
    expect(await bytesOf(mesh.client('bob').get('/f'))).toEqual(Buffer.from(bytes))
  })

  it('asks for one copy only when one peer is alive', async () => {
    const { namespace } = await start(THREE)
    mesh.kill('bob')
    mesh.kill('cyd')
    const put = await mesh.client('ada').put('/f', chunked(patterned(100)))
    expect(put.degraded).toBe(1)
    expect(namespace.blocksOf('/f')[0]?.holders).toEqual(['ada'])
  })

  it('leaves an owner behind that takes no bytes', async () => {
    const { namespace } = await start(THREE, { ...QUICK, replicaStallMs: 200, lateReplicaMs: 200 })
    const never = Promise.withResolvers<never>()
    mesh.peer('cyd').transport.handle(blockWrite, () => never.promise)
    // More than queue and window hold, so that the stuck one is noticed while the bytes still come.
    const bytes = patterned(6_000_000)
    await mesh.client('ada').put('/f', chunked(bytes, 64 * 1024), { format: 'binary' })
    expect([...(namespace.blocksOf('/f')[0]?.holders ?? [])].sort()).toEqual(['ada', 'bob'])
  })

  it('waits for a late third acknowledgement, but not for ever', async () => {
    const { namespace } = await start(THREE, { ...QUICK, lateReplicaMs: 500 })
    const { transport, store } = mesh.peer('cyd')
    let delay: Promise<void> = sleep(50)
    transport.handle(blockWrite, async ({ head, body }) => {
      const { blockId, sizeBytes: bytes, sha256 } = await store.write(head.blockId, body)
      await delay
      return { blockId, bytes, sha256, durable: true as const }
    })
    await mesh.client('ada').put('/late', chunked(patterned(100)))
    expect(namespace.blocksOf('/late')[0]?.holders).toHaveLength(3)
    delay = new Promise(() => undefined)
    const put = await mesh.client('ada').put('/later', chunked(patterned(100)))
    expect(put.degraded).toBe(1)
    expect(namespace.blocksOf('/later')[0]?.holders).not.toContain('cyd')
  })

  it('counts no acknowledgement of other bytes', async () => {
    const { namespace } = await start(THREE)
    mesh.peer('cyd').transport.handle(blockWrite, async ({ head, body }) => {
      const { length } = await bytesOf(body)
      return { blockId: head.blockId, bytes: length, sha256: '0'.repeat(64), durable: true as const }
    })
    await mesh.client('ada').put('/f', chunked(patterned(100)))
    expect(namespace.blocksOf('/f')[0]?.holders).not.toContain('cyd')
  })
})

describe('file service: what nobody may see', () => {
  it('refuses an existing path, a missing directory and a bad path before reading a byte', async () => {
    await start(THREE)
    const client = mesh.client('ada')
    await client.put('/f', chunked(Buffer.from('old')))
    let pulled = 0
    const source = (): AsyncIterable<Uint8Array> => ({
      async *[Symbol.asyncIterator]() {
        pulled++
        yield Buffer.from('new')
      },
    })
    const { service } = mesh.peer('ada')
    await expect(service.put('/f', source())).rejects.toSatisfy(coded('ALREADY_EXISTS'))
    await expect(service.put('/no/dir', source())).rejects.toSatisfy(coded('NOT_FOUND'))
    await expect(service.put('relative', source())).rejects.toSatisfy(coded('INVALID_PATH'))
    expect(pulled).toBe(0)
    await expect(client.put('/f', source())).rejects.toSatisfy(coded('ALREADY_EXISTS'))
    expect(String(await bytesOf(client.get('/f')))).toBe('old')
  })

  it('shows the old file until the new one is whole, and lets its readers finish', async () => {
    await start(THREE)
    const client = mesh.client('ada')
    const old = patterned(200_000, 1)
    const fresh = patterned(150_000, 99)
    await client.put('/f', chunked(old), { partitionBytes: 50_000, format: 'binary' })
    const reader = (await mesh.peer('bob').service.open('/f')).body
    const first = (await reader.next()).value!
    async function* source() {
      yield* chunked(fresh)
      expect(await bytesOf(mesh.client('cyd').get('/f'))).toEqual(Buffer.from(old))
    }
    await client.put('/f', source(), { overwrite: true, partitionBytes: 50_000, format: 'binary' })
    expect(await bytesOf(mesh.client('cyd').get('/f'))).toEqual(Buffer.from(fresh))
    expect(Buffer.concat([first, await bytesOf(reader)])).toEqual(Buffer.from(old))
  })

  it('leaves nothing visible when the source fails, the client leaves, or the leader is lost', async () => {
    await start(THREE)
    const { service } = mesh.peer('ada')
    async function* broken() {
      yield patterned(100)
      throw new Error('disk of the client')
    }
    await expect(service.put('/f', broken())).rejects.toThrow('disk of the client')
    const leave = new AbortController()
    async function* silent() {
      yield patterned(100)
      leave.abort(new Error('left'))
      await new Promise(() => undefined)
    }
    await expect(service.put('/f', silent(), { signal: leave.signal })).rejects.toThrow('left')
    async function* leaderless() {
      yield patterned(100)
      mesh.quorum = false
    }
    await expect(service.put('/f', leaderless())).rejects.toSatisfy(coded('NO_QUORUM'))
    mesh.quorum = true
    expect(mesh.namespace.exists('/f')).toBe(false)
  })

  it('lets the first of two writers of one path win, and refuses the other whole', async () => {
    await start(THREE)
    async function* slow() {
      yield Buffer.from('slow')
      await mesh.client('bob').put('/f', chunked(Buffer.from('fast')))
    }
    await expect(mesh.client('ada').put('/f', slow())).rejects.toSatisfy(coded('ALREADY_EXISTS'))
    expect(String(await bytesOf(mesh.client('ada').get('/f')))).toBe('fast')
  })

  it('shows nothing of a put whose peer died, and frees its blocks when the lease has ended', async () => {
    await start(FIVE)
    async function* source() {
      yield* chunked(patterned(200_000))
      // The client is ahead of the peer by what is under way: wait for blocks that will be garbage.
      await eventually('a block is stored', () => mesh.peer('bob').store.list().length > 0)
      mesh.kill('ada', { noticed: false })
      yield* chunked(patterned(200_000))
    }
    const put = mesh.client('ada').put('/f', source(), { partitionBytes: 50_000, format: 'binary' })
    await expect(put).rejects.toSatisfy(coded('CONNECTION_LOST'))
    expect(mesh.namespace.exists('/f')).toBe(false)
    const survivors = FIVE.slice(1).map(name => mesh.peer(name))
    expect(survivors.some(({ store }) => store.list().length > 0)).toBe(true)
    mesh.aheadMs += 120_000
    mesh.apply({ type: 'expire-leases' })
    // A survivor may still be syncing a block that it had whole.
    await eventually('the garbage is gone', async () => {
      for (const { service } of survivors) await service.collectOrphans()
      mesh.aheadMs += 600_000
      return survivors.every(({ store }) => store.list().length === 0)
    })
  })

  it('gives a put up when its lease is lost, even while the client is silent', async () => {
    await start(THREE, { ...QUICK, leaseMs: 90 })
    async function* source() {
      yield patterned(100)
      mesh.aheadMs += 10_000
      mesh.apply({ type: 'expire-leases' })
      await new Promise(() => undefined)
    }
    await expect(mesh.peer('ada').service.put('/f', source())).rejects.toSatisfy(coded('LEASE_LOST'))
    expect(mesh.namespace.exists('/f')).toBe(false)
  })

  it('keeps the lease of a slow put alive', async () => {
    await start(THREE, { ...QUICK, leaseMs: 1_500 })
    async function* source() {
      yield patterned(100)
      await eventually('extended twice', () => mesh.applied.filter(c => c.type === 'extend-lease').length > 1)
      yield patterned(100)
    }
    await mesh.peer('ada').service.put('/f', source())
    expect(mesh.namespace.stat('/f').sizeBytes).toBe(200)
  })

  it('keeps an open write invisible until commit-output names it', async () => {
    await start(THREE)
    const { service } = mesh.peer('ada')
    const open = await service.writeOpen('/out/_part', chunked(Buffer.from('a\nb\n')), { parents: true })
    expect(mesh.namespace.exists('/out')).toBe(false)
    const parts = [{ fileId: open.fileId, blockCount: open.blockCount }]
    expect(mesh.apply({ type: 'commit-output', path: '/out', winner: 'j1', parts })).toMatchObject({
      ok: true,
    })
    expect(String(await bytesOf(mesh.client('bob').get('/out/part-00000')))).toBe('a\nb\n')
  })
})

describe('file service: holders that fail during a get', () => {
  it('goes on at another holder at the very next byte when one dies', async () => {
    const { namespace } = await start(FIVE)
    const bytes = patterned(4_000_000)
    await mesh.client('ada').put('/f', chunked(bytes, 64 * 1024), { format: 'binary' })
    const holders = [...(namespace.blocksOf('/f')[0]?.holders ?? [])]
    const reader = FIVE.find(name => !holders.some(holder => holder === name))!
    const parts: Uint8Array[] = []
    let length = 0
    let killed: string | undefined
    for await (const chunk of (await mesh.peer(reader).service.open('/f')).body) {
      parts.push(chunk)
      length += chunk.length
      if (killed !== undefined || length < 500_000) continue
      killed = holders.find(holder => mesh.peer(holder).store.reads > 0)
      mesh.kill(killed!, { noticed: false })
    }
    expect(killed).toBeDefined()
    expect(Buffer.concat(parts)).toEqual(Buffer.from(bytes))
    expect(holders.filter(holder => mesh.peer(holder).store.reads > 0).length).toBeGreaterThan(1)
  })

  it('passes over a holder that does not answer, and one that stops in the middle', async () => {
    const { namespace } = await start(FIVE, { ...QUICK, readHeadTimeoutMs: 300, readIdleMs: 300 })
    const bytes = patterned(300_000)
    await mesh.client('ada').put('/f', chunked(bytes), { format: 'binary' })
    const holders = [...(namespace.blocksOf('/f')[0]?.holders ?? [])]
    const never = Promise.withResolvers<never>()
    mesh.peer(holders[0]!).transport.handle(blockRead, () => never.promise)
    mesh.peer(holders[1]!).transport.handle(blockRead, async () => ({
      head: { bytes: bytes.length },
      body: (async function* () {
        yield bytes.subarray(0, 70_000)
        yield bytes.subarray(70_000, 140_000)
        await never.promise
      })(),
    }))
    const reader = FIVE.find(name => !holders.some(holder => holder === name))!
    expect(await bytesOf(mesh.client(reader).get('/f'))).toEqual(Buffer.from(bytes))
  })

  it('names the peers it tried when no holder can be reached', async () => {
    const { namespace } = await start(FIVE)
    await mesh.client('ada').put('/f', chunked(patterned(100)))
    const holders = [...(namespace.blocksOf('/f')[0]?.holders ?? [])]
    for (const holder of holders) mesh.kill(holder)
    const reader = FIVE.find(name => !mesh.isDead(name))!
    const read = bytesOf(mesh.client(reader).get('/f'))
    await expect(read).rejects.toSatisfy(coded('BLOCK_UNAVAILABLE'))
    const error = await read.catch((error: unknown) => error)
    expect([...(error as { details: { tried: string[] } }).details.tried].sort()).toEqual(holders.sort())
  })

  it('serves a flipped byte right from another holder and mends the bad replica', async () => {
    const { namespace } = await start(THREE)
    const bytes = patterned(300_000)
    await mesh.client('ada').put('/f', chunked(bytes), { format: 'binary' })
    const { blockId, sha256 } = namespace.blocksOf('/f')[0]!
    const { store } = mesh.peer('bob')
    await mesh.flip('bob', blockId, 200_000)
    await expect(store.verify(blockId)).rejects.toSatisfy(coded('CORRUPT_REPLICA'))
    // Through bob, whose own copy comes first: the bytes before the flipped chunk are his, the others are not.
    expect(await bytesOf(mesh.client('bob').get('/f'))).toEqual(Buffer.from(bytes))
    await eventually('bob has a good copy again', async () => {
      const stored = await store.verify(blockId).catch(() => undefined)
      return stored?.sha256 === sha256
    })
  })

  it('fetches a replica that is gone from a holder again', async () => {
    const { namespace } = await start(THREE)
    await mesh.client('ada').put('/f', chunked(patterned(100)))
    const { blockId } = namespace.blocksOf('/f')[0]!
    const { store } = mesh.peer('bob')
    await store.delete(blockId)
    expect(await bytesOf(mesh.client('bob').get('/f'))).toHaveLength(100)
    await eventually('bob has it again', () => store.has(blockId))
  })

  it('never ends well with bytes that differ from the committed hash', async () => {
    const { namespace } = await start(FIVE)
    const bytes = patterned(300_000)
    await mesh.client('ada').put('/small', chunked(bytes.subarray(0, 1_000)), { format: 'binary' })
    await mesh.client('ada').put('/large', chunked(bytes), { format: 'binary' })
    for (const path of ['/small', '/large']) {
      const { blockId, holders, sizeBytes } = namespace.blocksOf(path)[0]!
      const [liar, ...others] = holders
      // A replica that contradicts nothing on its own disk.
      await mesh.peer(liar!).store.write(blockId, chunked(patterned(sizeBytes, 7)))
      const reader = FIVE.find(name => !holders.some(holder => holder === name))!
      for (const other of others) mesh.network.block(reader, other)
      await expect(
        bytesOf(mesh.peer(reader).service.readBlock(path, namespace.blocksOf(path)[0]!)),
      ).rejects.toSatisfy(
        (error: unknown) => hasCode(error, 'CORRUPT_REPLICA') || hasCode(error, 'BLOCK_UNAVAILABLE'),
      )
      mesh.network.heal()
      await eventually('the liar has the right bytes', async () => {
        const stored = await mesh.peer(liar!).store.stat(blockId)
        return stored?.sha256 === namespace.blocksOf(path)[0]!.sha256
      })
    }
  })

  it('lets a client go on at another peer when the one it is attached to dies', async () => {
    await start(FIVE)
    const bytes = patterned(3_000_000)
    await mesh
      .client('ada')
      .put('/f', chunked(bytes, 64 * 1024), { partitionBytes: 500_000, format: 'binary' })
    const parts: Uint8Array[] = []
    let length = 0
    for await (const chunk of mesh.client('eve').get('/f', { start: 1_000 })) {
      parts.push(chunk)
      length += chunk.length
      if (length > 700_000 && !mesh.isDead('eve')) mesh.kill('eve')
    }
    expect(mesh.isDead('eve')).toBe(true)
    expect(Buffer.concat(parts)).toEqual(Buffer.from(bytes.subarray(1_000)))
  })
})

describe('file service: any two peers killed at any moment', () => {
  it('commits whole and reads whole, or fails with a code and shows nothing', async () => {
    const bytes = patterned(200_000)
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.constantFrom(...FIVE.slice(1)), { maxLength: 2 }),
        fc.array(fc.integer({ min: 0, max: bytes.length }), { minLength: 2, maxLength: 2 }),
        fc.integer({ min: 20_000, max: 300_000 }),
        fc.boolean(),
        async (victims, moments, partitionBytes, noticed) => {
          await using trial = await DhtMesh.start(FIVE, QUICK)
          const dueAt = (at: number): void => {
            for (const [i, name] of victims.entries()) {
              if (at >= moments[i]! && !killed.has(name)) {
                killed.add(name)
                trial.kill(name, { noticed })
              }
            }
          }
          const killed = new Set<string>()
          async function* source() {
            let at = 0
            for await (const chunk of chunked(bytes)) {
              dueAt(at)
              yield chunk
              at += chunk.length
            }
          }
          const ada = trial.peer('ada')
          try {
            await ada.service.put('/f', source(), { partitionBytes, format: 'binary' })
          } catch (error) {
            expect(hasCode(error, 'UNDER_REPLICATED')).toBe(true)
            expect(victims).toHaveLength(2)
            expect(trial.namespace.exists('/f')).toBe(false)
            return
          }
          dueAt(bytes.length)
          const read = bytesOf((await ada.service.open('/f')).body)
          // Two copies at least: only the loss of both holders of one block may make it unreadable.
          const lost = trial.namespace
            .blocksOf('/f')
            .some(({ holders }) => holders.every(peer => killed.has(peer)))
          if (lost) await expect(read).rejects.toSatisfy(coded('BLOCK_UNAVAILABLE'))
          else expect(await read).toEqual(Buffer.from(bytes))
        },
      ),
      { numRuns: 8 },
    )
  })
})

describe('file client', () => {
  it('does not go on in another version of a file', async () => {
    await start(FIVE)
    const client = mesh.client('eve')
    await client.put('/f', chunked(patterned(3_000_000), 64 * 1024), {
      partitionBytes: 500_000,
      format: 'binary',
    })
    const read = async (): Promise<void> => {
      let length = 0
      for await (const chunk of client.get('/f')) {
        length += chunk.length
        if (length < 700_000 || mesh.isDead('eve')) continue
        await mesh.client('ada').put('/f', chunked(patterned(3_000_000, 9), 64 * 1024), { overwrite: true })
        mesh.kill('eve')
      }
    }
    await expect(read()).rejects.toSatisfy(coded('NOT_FOUND'))
  })

  it('carries a mutation out once when its peer dies before the answer', async () => {
    await start(THREE)
    const listener = (): void => mesh.kill('ada')
    mesh.listeners.push(listener)
    // Without the session the second attempt would say that the directory exists.
    expect(await mesh.client('ada').mkdir('/d')).toMatchObject({ created: true })
    expect(mesh.isDead('ada')).toBe(true)
    expect(mesh.applied.filter(command => command.type === 'mkdir')).toHaveLength(2)
  })
})

describe('file service: directories', () => {
  it('makes, lists, moves, removes and describes through any peer', async () => {
    await start(THREE)
    const client = mesh.client('bob')
    expect(await client.mkdir('/a/b', { parents: true })).toMatchObject({ created: true })
    await client.put('/a/b/two', chunked(Buffer.from('2\n')))
    await client.put('/a/one', chunked(Buffer.from('1\n')))
    expect((await client.ls('/a')).map(entry => `${entry.type} ${entry.name}`)).toEqual([
      'directory b',
      'file one',
    ])
    expect(await client.mv('/a/one', '/a/b')).toMatchObject({ path: '/a/b/one' })
    expect(await client.usage('/a')).toMatchObject({ files: 2, sizeBytes: 4, storedBytes: 12 })
    await expect(client.rm('/a')).rejects.toSatisfy(coded('DIRECTORY_NOT_EMPTY'))
    expect(await client.rm('/a', { recursive: true })).toMatchObject({ files: 2, sizeBytes: 4 })
    await expect(client.stat('/a')).rejects.toSatisfy(coded('NOT_FOUND'))
  })

  it('lists a directory of more than one page', async () => {
    await start(['ada'])
    mesh.apply({ type: 'mkdir', path: '/d' })
    for (let i = 0; i < 1_005; i++)
      mesh.namespace.apply(
        { type: 'mkdir', path: `/d/${i}` },
        { index: 9, term: 1, timeMs: Date.now() + 60_000 },
      )
    const names = (await mesh.client('ada').ls('/d')).map(entry => entry.name)
    expect(new Set(names).size).toBe(1_005)
    expect(names).toEqual([...names].sort())
  })

  it('tells where each partition is and how well it is kept', async () => {
    await start(FIVE)
    const client = mesh.client('ada')
    await client.put('/f', chunked(patterned(3_000)), { partitionBytes: 1_000, format: 'binary' })
    const { partitions, sizeBytes } = await client.locate('/f')
    expect(sizeBytes).toBe(3_000)
    expect(
      partitions.map(place => [place.index, place.offset, place.bytes, place.live, place.healthy]),
    ).toEqual([
      [0, 0, 1_000, 3, true],
      [1, 1_000, 1_000, 3, true],
      [2, 2_000, 1_000, 3, true],
    ])
    const lost = partitions[0]!.holders[0]!
    mesh.kill(lost)
    const after = (await mesh.client(FIVE.find(name => !mesh.isDead(name))!).locate('/f')).partitions[0]!
    expect(after).toMatchObject({ live: 2, wanted: 3, healthy: false })
    expect(after.holders.at(-1)).toBe(lost)
  })

  it('answers linearizable questions only with a quorum, stale ones always', async () => {
    await start(THREE)
    const client = mesh.client('ada')
    await client.put('/f', chunked(Buffer.from('x')))
    mesh.quorum = false
    await expect(client.stat('/f')).rejects.toSatisfy(coded('NO_QUORUM'))
    const told = await client.stat('/f', { consistency: 'stale' })
    expect(told).toMatchObject({ sizeBytes: 1, asOf: { index: expect.any(Number), ageMs: 0 } })
    expect(String(await bytesOf(client.get('/f', { consistency: 'stale' })))).toBe('x')
  })
})

describe('file service: garbage', () => {
  const GRACE_MS = 600_000

  it('deletes the blocks of removed and abandoned files after the grace time, and no others', async () => {
    await start(THREE)
    const { service, store } = mesh.peer('ada')
    await service.put('/keep', chunked(patterned(100)))
    await service.put('/gone', chunked(patterned(100)))
    async function* broken() {
      yield* chunked(patterned(90_000))
      throw new Error('broken')
    }
    await expect(service.put('/half', broken(), { partitionBytes: 1_000, format: 'binary' })).rejects.toThrow(
      'broken',
    )
    const open = await service.writeOpen('/open', chunked(patterned(100)), { leaseMs: GRACE_MS })
    await eventually('the broken put is called off', () => mesh.applied.some(c => c.type === 'abandon-file'))
    await mesh.client('ada').rm('/gone', { skipTrash: true })
    const isKept = (blockId: string): boolean =>
      blockId === mesh.namespace.blocksOf('/keep')[0]?.blockId || blockId.startsWith(open.fileId)
    const garbage = store.list().filter(blockId => !isKept(blockId)).length
    expect(garbage).toBeGreaterThan(1)
    expect(await service.collectOrphans()).toMatchObject({ unneeded: garbage, deleted: 0 })
    mesh.aheadMs += GRACE_MS - 1_000
    expect(await service.collectOrphans()).toMatchObject({ deleted: 0 })
    mesh.aheadMs += 2_000
    expect(await service.collectOrphans()).toMatchObject({ deleted: garbage })
    expect(store.list().every(isKept)).toBe(true)
    expect(store.list()).toHaveLength(2)
  })

  it('deletes nothing without a quorum', async () => {
    await start(THREE)
    const { service, store } = mesh.peer('ada')
    await service.put('/gone', chunked(patterned(100)))
    await mesh.client('ada').rm('/gone', { skipTrash: true })
    await service.collectOrphans()
    mesh.aheadMs += 2 * GRACE_MS
    mesh.quorum = false
    await expect(service.collectOrphans()).rejects.toSatisfy(coded('NO_QUORUM'))
    expect(store.list()).toHaveLength(1)
  })

  it('deletes a copy that neither the log nor the slot table gives to this peer', async () => {
    await start(FIVE)
    await mesh.client('ada').put('/f', chunked(patterned(100)))
    const block = mesh.namespace.blocksOf('/f')[0]!
    const stranger = FIVE.find(name => !block.holders.some(holder => holder === name))!
    const { service, store } = mesh.peer(stranger)
    await store.write(block.blockId, chunked(patterned(100)))
    await service.collectOrphans()
    mesh.aheadMs += GRACE_MS
    expect(await service.collectOrphans()).toMatchObject({ deleted: 1 })
    expect(store.list()).toEqual([])
  })
})
