import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Mesh } from '../../src/node/index.ts'
import { StorageLevel, type RDD } from '../../src/rdd/index.ts'
import { doze } from '../support/doze.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { noteAttempt, readAttempts } from '../support/run-record.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const MIB = 2 ** 20
const PARTITIONS = 6
/** Of 20,000 numbers with fractions. */
const PARTITION_BYTES = 160_000

/** Memory for some three partitions a peer; a task may hold less than one partition of the large dataset below. */
const cluster = useCluster(4, { cacheBytes: 512 * 1024, taskBytes: 8 * MIB, oldSpaceMb: 128 })

afterEach(async () => {
  await cluster().heal()
})

let records = 0

/** Partitions that note when they are computed. */
function noted(mesh: Mesh, partitions = PARTITIONS): { numbers: RDD<number>; computed: () => number } {
  const record = join(cluster().directory, `kept-${++records}`)
  const numbers = mesh
    .range(0, 20_000 * partitions, 1, partitions)
    .mapPartitionsWithIndex((partition, elements) => {
      noteAttempt(record, 'compute', partition)
      // So that every peer gets some of them.
      doze(50)
      return elements.map(n => n + 0.5)
    })
  return { numbers, computed: () => readAttempts(record).length }
}

const sumOf = (partitions: number): number => {
  const n = 20_000 * partitions
  return (n * (n - 1)) / 2 + n / 2
}

/** The follower that keeps most on its disk. */
async function keeper(): Promise<PeerProcess> {
  const followers = await cluster().followers()
  const counts = await Promise.all(followers.map(async peer => (await keptFiles([peer])).length))
  const most = Math.max(...counts)
  expect(most).toBeGreaterThan(0)
  return followers[counts.indexOf(most)]!
}

async function keptFiles(peers: readonly PeerProcess[]): Promise<string[]> {
  const lists = await Promise.all(
    peers.map(async ({ dataDirectory }) => {
      const directory = join(dataDirectory, 'output', 'kept')
      return (await readdir(directory).catch(() => [])).map(name => join(directory, name))
    }),
  )
  return lists.flat()
}

test('what does not fit into memory goes to disk, and goes from there with unpersist', async () => {
  const mesh = await cluster().connect()
  const { numbers, computed } = noted(mesh, 16)
  numbers.persist('MEMORY_AND_DISK')
  expect(await numbers.sum()).toBe(sumOf(16))
  const once = computed()
  expect([await numbers.sum(), await numbers.max()]).toEqual([sumOf(16), 20_000 * 16 - 0.5])
  expect(computed()).toBe(once)
  expect(await numbers.toDebugString()).toMatch(/CachedPartitions: 16; MemorySize: [1-9].*; DiskSize: [1-9]/)
  expect((await keptFiles(cluster().running())).length).toBeGreaterThan(0)
  numbers.unpersist()
  await waitFor('the files to go', async () => (await keptFiles(cluster().running())).length === 0)
})

test('a partition larger than the memory of its task and of the cache is computed through, or kept on disk', async () => {
  const mesh = await cluster().connect()
  // 16 MB in one partition.
  const large = mesh.range(0, 2_000_000, 1, 1).map(n => n + 0.5)
  const expected = 2e6 * 1e6
  for (const level of ['MEMORY_ONLY', 'DISK_ONLY'] as const) {
    large.persist(level)
    expect([await large.sum(), await large.sum()], level).toEqual([expected, expected])
    large.unpersist()
  }
})

test('two copies outlive the death of a peer: nothing is computed again', async () => {
  const leader = await cluster().leader()
  const mesh = await cluster().connect(leader)
  const { numbers, computed } = noted(mesh)
  numbers.persist(StorageLevel.DISK_ONLY_2)
  expect(await numbers.sum()).toBe(sumOf(PARTITIONS))
  const once = computed()
  const victim = await keeper()
  await victim.kill()
  expect(await numbers.sum()).toBe(sumOf(PARTITIONS))
  expect(computed()).toBe(once)
  numbers.unpersist()
})

test('one copy that dies with its peer is computed again, unless the lineage was cut: then an action says so', async () => {
  const leader = await cluster().leader()
  const mesh = await cluster().connect(leader)
  const { numbers, computed } = noted(mesh, 12)
  numbers.persist('DISK_ONLY')
  const { numbers: cut, computed: cutComputed } = noted(mesh, 12)
  const later = cut.map(n => n * 2)
  cut.persist('DISK_ONLY')
  await numbers.count()
  await cut.localCheckpoint()
  const once = [computed(), cutComputed()]
  expect(await later.sum()).toBe(2 * sumOf(12))
  expect([computed(), cutComputed()]).toEqual(once)
  const victim = await keeper()
  await victim.kill()
  expect(await numbers.sum()).toBe(sumOf(12))
  expect(computed()).toBeGreaterThan(once[0]!)
  await expect(later.sum()).rejects.toMatchObject({ code: 'CHECKPOINT_LOST' })
  numbers.unpersist()
})

test('a new leader knows what is kept where, and a damaged file is computed again', async () => {
  const leader = await cluster().leader()
  const [attached] = await cluster().followers()
  const mesh = await cluster().connect(attached)
  const { numbers, computed } = noted(mesh)
  numbers.persist('DISK_ONLY_2')
  await numbers.count()
  const once = computed()
  await leader.kill()
  expect(await numbers.sum()).toBe(sumOf(PARTITIONS))
  expect(computed()).toBe(once)
  for (const path of await keptFiles(cluster().running())) {
    const bytes = await readFile(path)
    bytes[Math.floor(PARTITION_BYTES / 2)]! ^= 1
    await writeFile(path, bytes)
  }
  expect(await numbers.sum()).toBe(sumOf(PARTITIONS))
  expect(computed()).toBeGreaterThan(once)
  numbers.unpersist()
})
