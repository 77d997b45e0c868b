import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asPeerId, silentLogger, type PeerId } from '../../../../src/base/index.ts'
import { copyTargets } from '../../../../src/node/executor/copy-targets.ts'
import { framed, KeptFiles, readKeptFile, unframed } from '../../../../src/node/executor/kept-files.ts'
import { KeptPartitions } from '../../../../src/node/executor/kept-partitions.ts'
import { StorageLevel, keptLevel, type KeptContent, type KeptLevel } from '../../../../src/rdd/index.ts'
import { MemoryNetwork } from '../../../support/memory-transport.ts'
import { waitFor } from '../../../support/wait-for.ts'

const directories: string[] = []

function folder(): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoal-kept-'))
  directories.push(directory)
  return directory
}

afterEach(async () => {
  await Promise.all(directories.splice(0).map(directory => rm(directory, { recursive: true, force: true })))
})

function chunk(bytes: number, value = 7): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(bytes)).fill(value)
}

async function gather(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<number[][]> {
  const all: number[][] = []
  for await (const each of chunks) all.push([...each])
  return all
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

describe('files of kept partitions', () => {
  const chunks = [chunk(5, 1), chunk(300, 2), chunk(1, 3)]
  const contents = chunks.map(each => [...each])

  test('give back their chunks, read at once or in pieces of any size', async () => {
    const files = new KeptFiles({ directory: folder(), peer: 'p', reserveBytes: 0 })
    const { path, sizeBytes } = await files.write({ partition: 0 }, chunks)
    expect(await gather(readKeptFile(path, sizeBytes)!)).toEqual(contents)
    const bytes = readFileSync(path)
    expect(bytes.length).toBe(sizeBytes)
    for (const size of [1, 7, 8, 100, 1_000]) {
      expect(await gather(unframed(inPieces(bytes, size)))).toEqual(contents)
    }
    expect(await gather(unframed(framed(chunks)))).toEqual(contents)
  })

  test('that are damaged anywhere are refused, and those that are gone are not there', async () => {
    const files = new KeptFiles({ directory: folder(), peer: 'p', reserveBytes: 0 })
    const { path, sizeBytes } = await files.write({ partition: 0 }, chunks)
    const whole = readFileSync(path)
    for (let at = 0; at < whole.length; at += 13) {
      const bytes = Buffer.from(whole)
      bytes[at]! ^= 0x10
      writeFileSync(path, bytes)
      await expect(gather(readKeptFile(path, sizeBytes)!)).rejects.toMatchObject({ code: 'KEPT_DAMAGED' })
      await expect(gather(unframed(inPieces(bytes, 64)))).rejects.toMatchObject({ code: 'KEPT_DAMAGED' })
    }
    for (const length of [sizeBytes - 1, 20, 4]) {
      const cut = whole.subarray(0, length)
      writeFileSync(path, cut)
      await expect(gather(readKeptFile(path, sizeBytes)!)).rejects.toMatchObject({ code: 'KEPT_DAMAGED' })
      await expect(gather(unframed(inPieces(cut, 64)))).rejects.toMatchObject({ code: 'KEPT_DAMAGED' })
    }
    await rm(path)
    expect(readKeptFile(path, sizeBytes)).toBeUndefined()
  })

  test('of a disk without room are not made, and nothing of them stays', async () => {
    const directory = folder()
    const files = new KeptFiles({ directory, peer: 'p', reserveBytes: Number.MAX_SAFE_INTEGER })
    await expect(files.write({ partition: 0 }, chunks)).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(await readdir(directory)).toEqual([])
  })

  test('that a dead thread left are removed, those of others and those handed over are not', async () => {
    const directory = folder()
    const files = new KeptFiles({ directory, peer: 'p', reserveBytes: 0 })
    for (const name of ['thread-1-0.rows', 'thread-1-1.rows', 'thread-12-0.rows']) {
      writeFileSync(join(directory, name), 'x')
    }
    await files.removeOf('thread-1-', path => path.endsWith('thread-1-1.rows'))
    await waitFor('the file to go', async () => (await readdir(directory)).length === 2)
    expect((await readdir(directory)).toSorted()).toEqual(['thread-1-1.rows', 'thread-12-0.rows'])
  })
})

describe('copies', () => {
  let network: MemoryNetwork
  const told: string[] = []

  beforeEach(() => {
    network = new MemoryNetwork()
    told.length = 0
  })

  async function peer(name: string, memoryBytes: number, diskBytes = 10_000): Promise<KeptPartitions> {
    const kept = new KeptPartitions(
      {
        transport: network.join(name),
        copyTargets: () => [asPeerId('b'), asPeerId('c')],
        share: () => {},
        unshare: () => {},
        tell: async () => void told.push(...kept.takeChanges().map(change => `${name} ${change.partition}`)),
        log: silentLogger,
      },
      { directory: join(folder(), 'kept'), memoryBytes, diskBytes, diskReserveBytes: 0 },
    )
    await kept.start()
    return kept
  }

  async function keep(kept: KeptPartitions, level: KeptLevel): Promise<void> {
    const owner = {}
    const key = { fingerprint: 'f', partition: 3 }
    await kept.cache.room(owner, 'memory', key, 30)
    const content: KeptContent = { ...key, level, sizeBytes: 30, chunks: [chunk(10, 1), chunk(20, 2)] }
    kept.keep(owner, { id: 's/1', session: 's' }, content)
    await kept.copied('s/1')
  }

  const key = { fingerprint: 'f', partition: 3 }
  const rows = [Array<number>(10).fill(1), Array<number>(20).fill(2)]

  test('are made before the task counts as done, and told to the leader by who has them', async () => {
    const [a, b] = [await peer('a', 100), await peer('b', 100)]
    await keep(a, keptLevel(StorageLevel.MEMORY_ONLY_2))
    expect(b.cache.get(key)).toMatchObject({ sizeBytes: 30, session: 's' })
    expect(told).toEqual(['b 3'])
    network.kill('a')
    const c = await peer('c', 100)
    const { signal } = new AbortController()
    expect(await gather(c.fetch(key, ['a', 'b'], signal))).toEqual(rows)
    await expect(gather(c.fetch({ ...key, partition: 4 }, ['b'], signal))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
    b.cache.assertInvariants()
  })

  test('go to disk or to another peer where there is no room in memory', async () => {
    const [a, b, c] = [await peer('a', 100), await peer('b', 10), await peer('c', 100)]
    await keep(a, keptLevel(StorageLevel.MEMORY_AND_DISK_2))
    expect(b.cache.get(key)).toMatchObject({ chunks: undefined, file: { sizeBytes: 46 } })
    expect(c.cache.get(key)).toBeUndefined()
    b.cache.dropSession('s')
    await keep(a, keptLevel(StorageLevel.MEMORY_ONLY_2))
    expect([b.cache.get(key), c.cache.get(key)?.sizeBytes]).toEqual([undefined, 30])
    for (const kept of [a, b, c]) kept.cache.assertInvariants()
    expect([b.cache.memoryBytes, b.cache.diskBytes]).toEqual([0, 0])
  })

  test('that nobody takes are done without', async () => {
    const a = await peer('a', 100)
    await keep(a, keptLevel(StorageLevel.MEMORY_ONLY_2))
    expect(a.cache.get(key)).toMatchObject({ sizeBytes: 30 })
  })

  test('a reader of a damaged file has it dropped where it is', async () => {
    const [a, b] = [await peer('a', 100), await peer('b', 0)]
    await keep(a, keptLevel(StorageLevel.MEMORY_AND_DISK_2))
    const { path } = b.cache.get(key)!.file!
    const bytes = readFileSync(path)
    bytes[12]! ^= 1
    writeFileSync(path, bytes)
    const { signal } = new AbortController()
    await expect(gather(a.fetch(key, ['b'], signal))).rejects.toThrow()
    expect(b.cache.get(key)).toBeUndefined()
  })
})

test('copies go to other hosts first, and are spread over the peers there', () => {
  const [self, near, ...far] = ['a', 'b', 'c', 'd', 'e'].map(asPeerId) as [PeerId, PeerId, ...PeerId[]]
  const living = [self, near]
    .map(peerId => ({ peerId, host: 'h1' }))
    .concat(far.map(peerId => ({ peerId, host: `host of ${peerId}` })))
  const firsts = new Set<PeerId>()
  for (let partition = 0; partition < 40; partition++) {
    const targets = copyTargets(self, living, `f ${partition}`)
    expect(targets).toHaveLength(4)
    expect(targets.at(-1)).toBe(near)
    firsts.add(targets[0]!)
  }
  expect(firsts.size).toBe(3)
})
