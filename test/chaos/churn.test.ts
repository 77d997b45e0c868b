import { readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { asBlockId } from '../../src/base/index.ts'
import { blockDataPath } from '../../src/dht/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { KnownFiles } from '../support/known-files.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import type { PeerProcess } from '../support/peer-process.ts'

const KIB = 1024
const PEERS = 5
/** One joins, one leaves, one joins… */
const EVERY_MS = 3_000
const CHURN_MS = Number(process.env['SHOAL_CHURN_S'] ?? 180) * 1_000
const FILES = 80
const FILE_BYTES = 256 * KIB
const READERS = 2
const LOOK_MS = 400
/** Over the least that the joins and leaves need. */
const MOVED_MAX = 1.3
const COPIES = 3

const report = new ChaosRounds()

afterAll(() => console.log(`\n${report.table()}`))

test('a peer joins or leaves every three seconds: no read fails, and little more moves than must', async () => {
  const failures = await report.run(
    'join and leave every 3 s',
    Math.ceil(ROUNDS / 10),
    async ({ round, random, took }) => {
      await using cluster = await LocalCluster.start(PEERS)
      const writer = await cluster.connect()
      const files = new KnownFiles(random)
      for (let i = 0; i < FILES; i++) await files.put(writer, `/kept/${i}`, FILE_BYTES)
      const blocks = await blockIds(writer, files.paths)
      await writer.close()
      const copies = new CopyCount(cluster, blocks)
      await copies.look()
      const before = copies.appeared
      await using load = new ClusterLoad(cluster, { name: `churn/${round}`, clients: 4, random })
      const over = new AbortController()
      const watching = copies.watch(over.signal)
      const readers = Array.from({ length: READERS }, (_, reader) =>
        read(cluster, files, reader, over.signal),
      )
      for (const reader of readers) reader.catch(() => over.abort())
      let ideal = 0
      let [joined, left] = [0, 0]
      const leaving: Promise<void>[] = []
      const untilMs = performance.now() + CHURN_MS
      for (let event = 0; performance.now() < untilMs && !over.signal.aborted; event++) {
        const nextMs = performance.now() + EVERY_MS
        const staying = stayingOf(cluster)
        if (event % 2 === 0) {
          await cluster.add()
          joined++
          ideal += (COPIES * FILES) / (staying.length + 1)
        } else {
          // The one that has been there longest: after a while nobody of the beginning is left.
          const [oldest] = staying as [PeerProcess]
          gone.add(oldest)
          leaving.push(leave(cluster, oldest, took))
          left++
          ideal += (COPIES * FILES) / staying.length
        }
        await wait(Math.max(0, nextMs - performance.now()))
      }
      await Promise.all(leaving)
      await cluster.ready()
      over.abort()
      const reads = (await Promise.all(readers)).reduce((sum, count) => sum + count, 0)
      await watching
      const changes = load.acknowledged()
      await load.stop()
      await load.audit()
      const mesh = await cluster.connect()
      await files.check(mesh)
      await mesh.close()
      took('joined', joined)
      took('left', left)
      took('reads of 256 KiB', reads)
      took('changes acknowledged', changes)
      const moved = copies.appeared - before
      took('copies made', moved)
      took('copies in percent of ideal', (moved / ideal) * 100)
      expect(moved / ideal).toBeLessThanOrEqual(MOVED_MAX)
    },
    async () => gone.clear(),
  )
  expect(failures).toEqual([])
})

/** Those that were told to leave. */
const gone = new Set<PeerProcess>()

/** The longest there first; without one that is about to start. */
function stayingOf(cluster: LocalCluster): PeerProcess[] {
  return cluster.running().filter(peer => !gone.has(peer) && peer.addresses.length > 0)
}

async function leave(
  cluster: LocalCluster,
  peer: PeerProcess,
  took: (what: string, ms: number) => void,
): Promise<void> {
  const startMs = performance.now()
  const mesh = await cluster.connect(...stayingOf(cluster).reverse())
  await mesh.drain(peer.id)
  await mesh.close()
  await peer.drained()
  took('a peer has left', performance.now() - startMs)
}

/** Reads all files again and again through whoever is there; a read that fails rejects. @returns how many were read. */
async function read(
  cluster: LocalCluster,
  files: KnownFiles,
  reader: number,
  signal: AbortSignal,
): Promise<number> {
  let reads = 0
  while (!signal.aborted) {
    const peers = stayingOf(cluster)
    const first = (reader + reads) % peers.length
    const mesh = await cluster.connect(...peers.slice(first), ...peers.slice(0, first))
    for (const path of files.paths) {
      if (signal.aborted) break
      await files.check(mesh, [path])
      reads++
    }
    await mesh.close()
  }
  return reads
}

async function blockIds(mesh: Mesh, paths: readonly string[]): Promise<string[]> {
  const ids: string[] = []
  for (const path of paths) {
    for (const { blockId } of (await mesh.fs.locate(path)).partitions) ids.push(blockId)
  }
  return ids
}

/** Counts, on the disks, how often a copy of one of these blocks appears at a peer. */
class CopyCount {
  readonly #cluster: LocalCluster
  readonly #blocks: readonly string[]
  #present = new Set<string>()
  appeared = 0

  constructor(cluster: LocalCluster, blocks: readonly string[]) {
    this.#cluster = cluster
    this.#blocks = blocks
  }

  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look()
      await wait(LOOK_MS, undefined, { signal }).catch(() => {})
    }
    await this.look()
  }

  async look(): Promise<void> {
    const present = new Set<string>()
    for (const { dataDirectory, name } of this.#cluster.peers) {
      const paths = this.#blocks.map(block => blockDataPath(dataDirectory, asBlockId(block)))
      const folders = [...new Set(paths.map(path => dirname(path)))]
      const names = new Set(
        (await Promise.all(folders.map(folder => readdir(folder).catch(() => [])))).flat(),
      )
      for (const block of this.#blocks) if (names.has(block)) present.add(`${name} ${block}`)
    }
    for (const copy of present) if (!this.#present.has(copy)) this.appeared++
    this.#present = present
  }
}
