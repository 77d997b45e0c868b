import { mkdtemp, rm, truncate, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  asFileId,
  below,
  hasCode,
  pick,
  seededRandom,
  shuffled,
  type BlockId,
} from '../../../src/base/index.ts'
import { FILE_DEFAULTS } from '../../../src/dht/config.ts'
import { blockIdOf, DiskBlockStore, type BlockStatus, type FileOptions } from '../../../src/dht/index.ts'
import { fileCheck } from '../../../src/dht/messages.ts'
import { Scrubber } from '../../../src/dht/scrubber.ts'
import { bytesOf, chunked, DhtMesh, eventually } from '../../support/dht-mesh.ts'
import { FaultyFs } from '../../support/faulty-fs.ts'
import { menderOf, patterned, REAL_PARTS } from '../../support/health-scenarios.ts'

const SIZE_BYTES = 200_000
const BYTES = patterned(SIZE_BYTES)
const FIVE = ['ada', 'bob', 'cyd', 'dan', 'eve']

let mesh: DhtMesh
afterEach(async () => mesh[Symbol.asyncDispose]())

async function start(
  names: readonly string[] = ['ada', 'bob', 'cyd'],
  options: Partial<FileOptions> = {},
): Promise<BlockStatus> {
  mesh = await DhtMesh.start(names, options)
  await mesh.client('ada').put('/f', chunked(BYTES), { format: 'binary' })
  return mesh.namespace.blocksOf('/f')[0]!
}

const gather = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

describe('a replica that is bad', () => {
  it('is put aside, rewritten from another copy, and counted', async () => {
    const { blockId } = await start()
    const { service, store } = mesh.peer('bob')
    await mesh.flip('bob', blockId, 70_000)
    expect(await service.health.mender.check(blockId)).toEqual({ found: 'corrupt', now: 'good' })
    expect((await bytesOf(store.read(blockId))).equals(BYTES)).toBe(true)
    expect(await service.health.status()).toMatchObject({
      corruptFound: 1,
      repaired: 1,
      reported: 0,
      damagedCount: 0,
      quarantined: 0,
    })
  })

  it('is left to repair when its peer cannot fetch another copy, and what is put aside stays until copies are safe', async () => {
    const { blockId } = await start(['ada', 'bob', 'cyd', 'dan'])
    const { holders } = mesh.namespace.blockOf(blockId)!
    const [bad, ...others] = holders.map(holder => mesh.peer(holder))
    for (const other of others) mesh.network.block(bad!.name, other.name)
    await mesh.flip(bad!.name, blockId, 0)
    expect(await bad!.service.health.mender.check(blockId)).toEqual({ found: 'corrupt', now: 'reported' })
    expect(mesh.namespace.blockOf(blockId)!.holders).not.toContain(bad!.id)
    expect(bad!.store.has(blockId)).toBe(false)
    expect(bad!.store.quarantined()).toEqual([blockId])
    // Two good copies of three: not safe yet.
    await bad!.service.health.audit.run()
    expect(bad!.store.quarantined()).toEqual([blockId])
    const fourth = [...mesh.peers.values()].find(({ id }) => !holders.includes(id))!
    mesh.apply({ type: 'report-holders', blocks: [{ blockId, add: [fourth.id] }] })
    await bad!.service.health.audit.run()
    expect(bad!.store.quarantined()).toEqual([])
  })

  it('is what one unreadable file is: the disk works, so the copy is made again', async () => {
    const { blockId } = await start()
    const { service, store, fs } = mesh.peer('bob')
    const path = store.pathOf(blockId)
    const heal = fs.fail('EIO', (operation, at) => operation === 'read' && at === path)
    // Through bob, whose own copy comes first.
    expect((await bytesOf(mesh.client('bob').get('/f'))).equals(BYTES)).toBe(true)
    await eventually('bob has fetched it again', async () => (await service.health.status()).repaired === 1)
    heal()
    await store.verify(blockId)
    expect(store.failure).toBeUndefined()
  })

  it('is told to its peer by a reader elsewhere', async () => {
    const { blockId, holders } = await start(FIVE)
    for (const holder of holders) await mesh.flip(holder, blockId, 190_000)
    const lucky = mesh.peer(holders[0]!)
    await lucky.store.write(blockId, chunked(BYTES))
    const reader = FIVE.find(name => !holders.some(holder => holder === name))!
    for (let reads = 0; reads < 20; reads++) {
      expect((await bytesOf(mesh.client(reader).get('/f'))).equals(BYTES)).toBe(true)
    }
    await eventually('the others are mended', async () => {
      const good = holders.map(holder =>
        mesh
          .peer(holder)
          .store.verify(blockId)
          .then(
            () => true,
            () => false,
          ),
      )
      return (await Promise.all(good)).every(each => each)
    })
  })
})

describe('a hundred flipped bytes', () => {
  it('are all found, served right from another copy, and mended', async () => {
    await start(['ada', 'bob', 'cyd', 'dan'])
    const random = seededRandom(6)
    const blockBytes = 8_192
    const bytes = patterned(50 * blockBytes)
    const client = mesh.client('ada')
    await client.put('/many', chunked(bytes), { format: 'binary', partitionBytes: blockBytes })
    const blocks = mesh.namespace.blocksOf('/many')
    expect(blocks).toHaveLength(50)
    for (const { blockId, holders } of blocks) {
      for (const holder of shuffled(random, holders).slice(0, 2)) {
        await mesh.flip(holder, blockId, below(random, blockBytes))
      }
    }
    expect((await bytesOf(client.get('/many'))).equals(bytes)).toBe(true)
    await gather(client.verify('/many'))
    const again = (await gather(client.verify('/many'))).flatMap(({ replicas }) => replicas)
    expect(again.filter(({ found }) => found === 'good')).toHaveLength(150)
    const { peers } = await client.blockHealth()
    expect(peers.reduce((sum, { health }) => sum + health!.corruptFound, 0)).toBe(100)
    expect(peers.reduce((sum, { health }) => sum + health!.repaired, 0)).toBe(100)
    expect((await bytesOf(client.get('/many'))).equals(bytes)).toBe(true)
  })
})

describe('a disk that does not work at all', () => {
  it('holds nothing any more, and the log hears so', async () => {
    const { blockId } = await start()
    const { id, service, store, fs } = mesh.peer('bob')
    fs.fail('EIO', operation => operation !== 'statfs')
    await expect(bytesOf(store.read(blockId))).rejects.toSatisfy(error => hasCode(error, 'DISK_FAILED'))
    expect(store.failure).toBeDefined()
    expect(store.list()).toEqual([])
    await expect(store.write(blockId, chunked(BYTES))).rejects.toSatisfy(error =>
      hasCode(error, 'DISK_FAILED'),
    )
    expect(await service.health.audit.run()).toMatchObject({ missing: 1 })
    expect(mesh.namespace.blockOf(blockId)!.holders).not.toContain(id)
    expect((await bytesOf(mesh.client('bob').get('/f'))).equals(BYTES)).toBe(true)
    expect((await service.health.status()).failure).toContain('has failed')
    // Files go on being written, to the others.
    expect((await mesh.client('bob').put('/g', chunked(BYTES), { format: 'binary' })).degraded).toBe(1)
  })

  it('is not what a full disk is: that one refuses replicas, gives what it has, and another peer takes its place', async () => {
    await start(['ada', 'bob', 'cyd', 'dan'])
    mesh.peer('bob').fs.setFree(-1)
    for (let file = 0; file < 8; file++) {
      const put = await mesh.client('ada').put(`/three${file}`, chunked(BYTES), { format: 'binary' })
      expect(put.degraded).toBeUndefined()
      expect(mesh.namespace.blocksOf(`/three${file}`)[0]!.holders.toSorted()).toEqual(['ada', 'cyd', 'dan'])
    }
    const full = ['bob', 'cyd', 'dan']
    for (const name of full) mesh.peer(name).fs.setFree(-1)
    await expect(mesh.client('ada').put('/none', chunked(BYTES), { format: 'binary' })).rejects.toSatisfy(
      error => hasCode(error, 'UNDER_REPLICATED'),
    )
    mesh.peer('dan').fs.setFree(undefined)
    for (let file = 0; file < 8; file++) {
      const path = `/g${file}`
      await mesh.client('ada').put(path, chunked(BYTES), { format: 'binary' })
      expect(mesh.namespace.blocksOf(path)[0]!.holders.toSorted()).toEqual(['ada', 'dan'])
    }
    for (const name of full) expect(mesh.peer(name).store.failure).toBeUndefined()
    expect((await bytesOf(mesh.client('bob').get('/f'))).equals(BYTES)).toBe(true)
  })
})

describe('the audit', () => {
  it('finds nothing where all is well, and does not list a slot', async () => {
    await start()
    for (const { service } of mesh.peers.values()) {
      expect(await service.health.audit.run()).toEqual({ listed: 0, missing: 0, misfits: 0, surplus: 0 })
    }
  })

  it('mends a file of another length, and leaves surplus to the collector', async () => {
    const { blockId } = await start()
    const { service, store } = mesh.peer('bob')
    const stranger = blockIdOf(asFileId('f'.repeat(32)), 0, '1')
    await store.write(stranger, chunked(BYTES))
    // Another content under the same name, good by its own checksums.
    await store.write(blockId, chunked(BYTES.subarray(0, 1_000)))
    expect(await service.health.audit.run()).toMatchObject({ missing: 0, misfits: 1, surplus: 1 })
    await eventually(
      'bob has the right bytes',
      async () => (await store.stat(blockId))?.sizeBytes === SIZE_BYTES,
    )
    expect(store.has(stranger)).toBe(true)
  })

  it('judges nothing by an old view: without a quorum nothing is reported', async () => {
    const { blockId } = await start()
    const { id, service, store } = mesh.peer('bob')
    await store.delete(blockId)
    mesh.quorum = false
    await expect(service.health.audit.run()).rejects.toSatisfy(error => hasCode(error, 'NO_QUORUM'))
    expect(mesh.namespace.blockOf(blockId)!.holders).toContain(id)
    mesh.quorum = true
    expect(await service.health.audit.run()).toMatchObject({ missing: 1 })
    expect(mesh.namespace.blockOf(blockId)!.holders).not.toContain(id)
  })

  it('goes on naming the last holder of what is lost, and says that it is damaged', async () => {
    const { blockId } = await start(['ada'])
    const { service, store } = mesh.peer('ada')
    await store.delete(blockId)
    for (let runs = 0; runs < 3; runs++) await service.health.audit.run()
    expect(mesh.applied.filter(({ type }) => type === 'report-holders')).toEqual([])
    expect(await service.health.status()).toMatchObject({
      missingFound: 1,
      damaged: [{ blockId, state: 'missing' }],
    })
  })
})

describe('the collector', () => {
  it('spares a copy that this peer has just vouched for, however old its garbage is', async () => {
    const block = await start(FIVE)
    const { blockId, sizeBytes: bytes, sha256, holders } = block
    const stranger = [...mesh.peers.values()].find(({ id }) => !holders.includes(id))!
    await stranger.store.write(blockId, chunked(BYTES))
    await stranger.service.collectOrphans()
    mesh.aheadMs += FILE_DEFAULTS.orphanGraceMs
    // The leader plans a move to it, which is not applied here yet.
    await stranger.service.askToCopy(stranger.id, { blockId, bytes, sha256, from: holders })
    expect(await stranger.service.collectOrphans()).toMatchObject({ deleted: 0 })
    mesh.aheadMs += FILE_DEFAULTS.orphanGraceMs
    await stranger.service.collectOrphans()
    mesh.aheadMs += FILE_DEFAULTS.orphanGraceMs
    expect(await stranger.service.collectOrphans()).toMatchObject({ deleted: 1 })
  })
})

describe('the collector, at random', () => {
  it.each([1, 2, 3, 4])(
    'never deletes what is needed, and all garbage within twenty minutes (seed %i)',
    async seed => {
      mesh = await DhtMesh.start(['ada', 'bob', 'cyd'], { leaseMs: 60_000 })
      const random = seededRandom(seed)
      const peers = [...mesh.peers.values()]
      const paths = ['/a', '/b', '/c', '/d']
      const isWhole = (): boolean =>
        paths
          .filter(path => mesh.namespace.exists(path))
          .flatMap(path => mesh.namespace.blocksOf(path))
          .every(({ blockId, holders }) => holders.every(holder => mesh.peer(holder).store.has(blockId)))
      const sweep = async (): Promise<void> => {
        for (const { service } of peers) await service.collectOrphans()
      }
      for (let step = 0; step < 25; step++) {
        const path = pick(random, paths)!
        const peer = pick(random, peers)!
        const bytes = patterned(below(random, 40_000), step)
        switch (below(random, 6)) {
          case 0:
          case 1:
            await peer.service.put(path, chunked(bytes), {
              overwrite: true,
              format: 'binary',
              partitionBytes: 10_000,
            })
            break
          case 2:
            if (mesh.namespace.exists(path)) mesh.apply({ type: 'rm', path })
            break
          case 3:
            await peer.service.writeOpen(`${path}.open`, chunked(bytes), { leaseMs: 30_000 })
            break
          case 4:
            // The leader's clock, and with it log time, and everybody's own: ahead by up to half an hour.
            mesh.aheadMs += below(random, 1_800_000)
            mesh.apply({ type: 'expire-leases' })
            break
          case 5:
            mesh.aheadMs += 60_000
            await sweep()
        }
        expect(isWhole()).toBe(true)
      }
      mesh.aheadMs += 60_000
      mesh.apply({ type: 'expire-leases' })
      for (let minute = 0; minute < 12; minute++) {
        await sweep()
        mesh.aheadMs += 60_000
      }
      await sweep()
      for (const { store } of peers) {
        expect(store.list().filter(blockId => !mesh.namespace.isReferenced(blockId))).toEqual([])
      }
      expect(isWhole()).toBe(true)
    },
  )
})

describe('reads', () => {
  it('ask a second holder when the first stands still, and cancel it', async () => {
    // Longer than a busy machine lets a healthy holder wait.
    const { holders } = await start(FIVE, { hedgeFloorMs: 400 })
    const reader = FIVE.find(name => !holders.some(holder => holder === name))!
    const stalled = mesh.peer(holders[0]!)
    stalled.store.stalled = true
    const waitsMs: number[] = []
    for (let reads = 0; reads < 30; reads++) {
      const beganMs = performance.now()
      expect((await bytesOf(mesh.client(reader).get('/f'))).equals(BYTES)).toBe(true)
      waitsMs.push(performance.now() - beganMs)
    }
    const { reads } = await mesh.peer(reader).service.health.status()
    expect(stalled.store.reads).toBeGreaterThan(0)
    // None waited for the idle limit of five seconds, and only the first had to be overtaken.
    expect(Math.max(...waitsMs)).toBeLessThan(FILE_DEFAULTS.readIdleMs / 2)
    expect(reads).toMatchObject({ reads: 30, hedged: 1, won: 1 })
    await eventually('the slow read was given up', () => stalled.store.cancelled === stalled.store.reads)
  })

  it('go elsewhere when the disk of this very peer stands still', async () => {
    await start()
    mesh.peer('bob').store.stalled = true
    const beganMs = performance.now()
    expect((await bytesOf(mesh.client('bob').get('/f'))).equals(BYTES)).toBe(true)
    expect(performance.now() - beganMs).toBeLessThan(FILE_DEFAULTS.readIdleMs / 2)
  })
})

describe('the operator', () => {
  it('sees dead, corrupt and missing copies by path, page by page', async () => {
    const { blockId } = await start()
    for (const path of ['/d/a', '/d/b', '/e']) {
      await mesh.client('ada').put(path, chunked(BYTES), { parents: true, format: 'binary' })
    }
    const client = mesh.client('ada')
    expect((await gather(client.fsck('/'))).map(({ path }) => path)).toEqual(['/d/a', '/d/b', '/e', '/f'])
    const ask = async (startAfter: string) =>
      (
        await mesh
          .peer('ada')
          .transport.call(mesh.peer('bob').id, fileCheck, { path: '/', startAfter, filesMax: 1 })
      ).head
    expect(await ask('/d/a')).toMatchObject({ files: [{ path: '/d/b' }], more: true })
    expect(await ask('/e')).toMatchObject({ files: [{ path: '/f' }], more: false })
    expect(await ask('/f')).toEqual({ files: [], more: false, unheard: [] })
    mesh.kill('cyd')
    mesh.kill('bob')
    await mesh.flip('ada', blockId, 0)
    await mesh.peer('ada').service.health.mender.check(blockId)
    mesh.aheadMs += 10_000
    const [file] = await gather(client.fsck('/f', { blocks: true }))
    expect(file).toMatchObject({ path: '/f', partitions: 1, missing: 1, corrupt: 1, underReplicated: 0 })
    const states = file!.blocks![0]!.holders.map(({ name, state }) => `${name} ${state}`)
    expect(states.toSorted()).toEqual(['ada corrupt', 'bob dead', 'cyd dead'])
  })

  it('has the holders read a file again, whole', async () => {
    const { blockId } = await start()
    await mesh.client('ada').put('/g', chunked(BYTES), { format: 'binary', partitionBytes: 20_000 })
    expect(mesh.namespace.blocksOf('/g').length).toBeGreaterThan(8)
    const all = (await gather(mesh.client('cyd').verify('/g'))).flatMap(({ replicas }) => replicas)
    expect(all).toHaveLength(mesh.namespace.blocksOf('/g').length * 3)
    expect(all.every(({ found, now }) => found === 'good' && now === 'good')).toBe(true)
    await mesh.flip('bob', blockId, SIZE_BYTES - 1)
    const [block] = await gather(mesh.client('cyd').verify('/f'))
    const verdicts = block!.replicas.map(({ name, found, now }) => `${name} ${found} ${now}`)
    expect(verdicts.toSorted()).toEqual(['ada good good', 'bob corrupt good', 'cyd good good'])
    const health = await mesh.client('cyd').blockHealth()
    expect(health.peers.map(({ name, health: one }) => `${name} ${one?.repaired}`).toSorted()).toEqual([
      'ada 0',
      'bob 1',
      'cyd 0',
    ])
  })
})

describe('the scrub', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shoal-scrub-'))
  })
  afterEach(async () => rm(directory, { recursive: true, force: true }))
  const open = (fs = new FaultyFs()): Promise<DiskBlockStore> =>
    DiskBlockStore.open({ directory, peer: 'ada', diskReserveBytes: 0, fs })

  it('takes the block first that was longest not verified, and goes on where it was after a restart', async () => {
    mesh = await DhtMesh.start(['ada'])
    const ids = [0, 1, 2, 3].map(index => blockIdOf(asFileId('a'.repeat(32)), index, '1'))
    const options = { ...FILE_DEFAULTS, scrubPeriodMs: 1_000, scrubBytesPerSecond: 1e9 }
    const nowMs = Date.now()
    const agesMs = [3_000, 500, 4_000, 2_000]
    const scrubbed = async (ids_: BlockId[], atMs: number, signalAfter = Infinity): Promise<BlockId[]> => {
      await using store = await open()
      const order: BlockId[] = []
      const stop = new AbortController()
      const watched = Object.create(store, {
        verify: {
          value: async (blockId: BlockId) => {
            if (order.length === signalAfter) stop.abort(new Error('the peer is killed'))
            stop.signal.throwIfAborted()
            order.push(blockId)
            return store.verify(blockId)
          },
        },
        has: { value: (blockId: BlockId) => store.has(blockId) },
        list: { value: () => store.list() },
        verifiedMs: { value: (blockId: BlockId) => store.verifiedMs(blockId) },
        busy: { value: () => store.busy() },
      }) as DiskBlockStore
      const peer = mesh.peer('ada')
      const ports = { ...peer.ports, store: watched }
      const mender = menderOf(REAL_PARTS, { ...peer, ports }, options)
      await using scrub = new Scrubber(ports, options, mender, () => atMs)
      await scrub.pass({ signal: stop.signal }).catch(() => undefined)
      expect(ids_.every(id => store.has(id))).toBe(true)
      return order
    }
    {
      await using store = await open()
      for (const [index, id] of ids.entries()) {
        await store.write(id, chunked(BYTES))
        const seconds = (nowMs - agesMs[index]!) / 1_000
        await utimes(`${store.pathOf(id)}.sum`, seconds, seconds)
      }
    }
    // Killed after one of three that are due…
    expect(await scrubbed(ids, nowMs, 1)).toEqual([ids[2]])
    // …so two are left after the restart, and none after that.
    expect(await scrubbed(ids, nowMs)).toEqual([ids[0], ids[3]])
    expect(await scrubbed(ids, nowMs)).toEqual([])
    expect(await scrubbed(ids, nowMs + 600)).toEqual([ids[1]])
  })

  it('reads no faster than it may, and lets others go first, but not for ever', async () => {
    mesh = await DhtMesh.start(['ada'])
    const peer = mesh.peer('ada')
    await mesh.client('ada').put('/f', chunked(patterned(1_000_000)), { format: 'binary' })
    const later = (): number => Date.now() + 2_000
    const passMs = async (options: Partial<FileOptions>): Promise<number> => {
      const all = { ...FILE_DEFAULTS, scrubPeriodMs: 1_000, scrubBytesPerSecond: 1e9, ...options }
      await using scrub = new Scrubber(peer.ports, all, menderOf(REAL_PARTS, peer, all), later)
      const beganMs = performance.now()
      expect(await scrub.pass()).toBe(1)
      return performance.now() - beganMs
    }
    expect(await passMs({ scrubBytesPerSecond: 2_000_000 })).toBeGreaterThan(450)
    const reading = peer.store.read(mesh.namespace.blocksOf('/f')[0]!.blockId)[Symbol.asyncIterator]()
    await reading.next()
    // Four pieces, each of which waits as long as it has to for the reader.
    expect(await passMs({ scrubYieldMs: 100 })).toBeGreaterThan(390)
    await reading.return?.()
  })

  it('does not trust a time to come: a clock that was wrong must not put a block off', async () => {
    const block = await start(['ada'])
    const peer = mesh.peer('ada')
    const dayMs = 86_400_000
    const scrub = new Scrubber(
      peer.ports,
      FILE_DEFAULTS,
      peer.service.health.mender,
      () => Date.now() - dayMs,
    )
    await truncate(peer.store.pathOf(block.blockId), 10)
    expect(await scrub.pass()).toBe(1)
    expect(peer.service.health.mender.counts.corruptFound).toBe(1)
    await scrub[Symbol.asyncDispose]()
  })
})
