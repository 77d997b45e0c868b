import { open, stat, utimes } from 'node:fs/promises'
import { afterAll, expect, test } from 'vitest'
import { asBlockId, below, shuffled, type Random } from '../../src/base/index.ts'
import { blockDataPath } from '../../src/dht/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { KnownFiles } from '../support/known-files.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const KIB = 1024
const FLIPS = 100
const FILES = 40
/** Two blocks each. */
const FILE_BYTES = 300 * KIB
const PARTITION_BYTES = 160 * KIB
/** The scrub looks at a block again when that was last done longer ago than seven days. */
const LONG_AGO_MS = 8 * 86_400_000
/** Of bytes flipped, so many are in the checksums beside the data. */
const IN_CHECKSUMS = 0.1

const cluster = useCluster(5)
const report = new ChaosRounds()

afterAll(() => console.log(`\n${report.table()}`))

interface Replica {
  path: string
  peer: PeerProcess
  dataPath: string
}

test(`${FLIPS} bytes are flipped in replicas: each is found and mended, and no wrong byte is read`, async () => {
  const failures = await report.run(
    'flip bytes in replicas',
    ROUNDS,
    async ({ round, random, took }) => {
      const files = new KnownFiles(random)
      const mesh = await cluster().connect()
      for (let i = 0; i < FILES; i++) {
        await files.put(mesh, `/flipped/${round}/${i}`, FILE_BYTES, { partitionBytes: PARTITION_BYTES })
      }
      const bad = drawn(random, await replicasOf(mesh, files.paths))
      const [first, second, third] = [bad.slice(0, 34), bad.slice(34, 67), bad.slice(67)]

      // A reader of the very peer that has the bad copy.
      const startMs = performance.now()
      for (const replica of first) {
        await flip(random, replica.dataPath)
        const found = await counted('corruptFound')
        const reader = await cluster().connect(replica.peer)
        expect(await files.isWhole(reader, replica.path), `${replica.path} on ${replica.peer.name}`).toBe(
          true,
        )
        await waitFor('the bad copy to be found by the read', async () => {
          return (await counted('corruptFound')) === found + 1
        })
        await reader.close()
      }
      took('found by reading', first.length)
      await mended()

      // Somebody who asks the holders to look.
      const atVerify = await counted('corruptFound')
      for (const { dataPath } of second) await flip(random, dataPath)
      for (const path of new Set(second.map(replica => replica.path))) {
        for await (const { replicas } of mesh.fs.verify(path)) {
          expect(replicas.every(({ now }) => now === 'good')).toBe(true)
        }
      }
      expect((await counted('corruptFound')) - atVerify).toBe(second.length)
      took('found by verify', second.length)
      await mended()

      // Nobody: the scrub, when it is time.
      for (const { dataPath } of third) {
        await flip(random, dataPath)
        const seconds = (Date.now() - LONG_AGO_MS) / 1_000
        await utimes(`${dataPath}.sum`, seconds, seconds)
      }
      for (const peer of cluster().peers) await peer.stop()
      await Promise.all(cluster().peers.map(peer => peer.start()))
      await cluster().ready()
      await waitFor('the scrub to find all', async () => (await counted('corruptFound')) === third.length)
      took('found by the scrub', third.length)
      await mended()
      took('whole round', performance.now() - startMs)

      for (const reader of await cluster().clients(5)) {
        await files.check(reader)
        await reader.close()
      }
      await mesh.close()
    },
    () => cluster().heal(),
  )
  expect(failures).toEqual([])
})

/** Over all peers, each since it started. */
async function counted(what: 'corruptFound' | 'repaired'): Promise<number> {
  const statuses = await Promise.all(cluster().peers.map(peer => peer.status()))
  return statuses.reduce((sum, { store }) => sum + (store?.[what] ?? 0), 0)
}

/** Every bad copy that was found has been rewritten, and none is left. */
async function mended(): Promise<void> {
  await waitFor('all bad copies to be mended', async () => {
    const stores = (await Promise.all(cluster().peers.map(peer => peer.status()))).map(({ store }) => store!)
    return stores.every(
      ({ corruptFound, repaired, damagedCount }) => damagedCount === 0 && repaired === corruptFound,
    )
  })
}

async function replicasOf(mesh: Mesh, paths: readonly string[]): Promise<Replica[][]> {
  const blocks: Replica[][] = []
  for (const path of paths) {
    const { partitions } = await mesh.fs.locate(path)
    for (const { blockId, holders } of partitions) {
      blocks.push(
        cluster()
          .peers.filter(({ id }) => holders.some(holder => holder === id))
          .map(peer => ({
            path,
            peer,
            dataPath: blockDataPath(peer.dataDirectory, asBlockId(blockId)),
          })),
      )
    }
  }
  return blocks
}

/** Copies by chance, though never all of one block. */
function drawn(random: Random, blocks: readonly Replica[][]): Replica[] {
  const candidates = blocks.flatMap(replicas => shuffled(random, replicas).slice(0, replicas.length - 1))
  expect(candidates.length).toBeGreaterThan(FLIPS)
  return shuffled(random, candidates).slice(0, FLIPS)
}

async function flip(random: Random, dataPath: string): Promise<void> {
  const path = random.next() < IN_CHECKSUMS ? `${dataPath}.sum` : dataPath
  const { mtime, atime } = await stat(path)
  await using file = await open(path, 'r+')
  const { size } = await file.stat()
  const at = below(random, size)
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, at)
  byte[0] = byte[0]! ^ (1 << below(random, 8))
  await file.write(byte, 0, 1, at)
  // As a disk does it: the file looks untouched.
  await utimes(path, atime, mtime)
}
