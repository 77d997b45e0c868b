import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { shuffled } from '../../src/base/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { KnownFiles } from '../support/known-files.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { SmallDisk } from '../support/small-disk.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 24 * MIB
/** With three copies over five peers each would get three fifths of it: more than the small disk has. */
const WRITTEN_BYTES = 80 * MIB
const FILE_BYTES = 2 * MIB
/** More than any disk of a machine that runs tests has free. */
const ALL_THERE_IS = 2 ** 50
const BALLAST = 'ballast'

const report = new ChaosRounds()

afterAll(() => console.log(`\n${report.table()}`))

/** A full disk of one peer of five: a small one where we may mount, else one whose every byte is reserved. */
test('the disk of one peer gets full: nobody fails, nothing is lost, and it goes on when there is room', async () => {
  const failures = await report.run(
    'full disk of one of five',
    Math.ceil(ROUNDS / 5),
    async ({ round, random, took }) => {
      await using cluster = await LocalCluster.start(4, { repair: { graceMs: 1_000 } })
      using disk = SmallDisk.arePossible()
        ? SmallDisk.mount(join(cluster.directory, 'p5'), DISK_BYTES)
        : undefined
      const small = await cluster.add({ diskReserveBytes: disk === undefined ? ALL_THERE_IS : 4 * MIB })
      await cluster.ready()
      await using load = new ClusterLoad(cluster, { name: `full/${round}`, clients: 4, random })
      const files = new KnownFiles(random)
      const [mesh, there] = [await cluster.connect(), await cluster.connect(small)]
      const startMs = performance.now()
      for (let i = 0; i * FILE_BYTES < WRITTEN_BYTES; i++) {
        // Every other file through the peer with the full disk.
        await files.put(i % 2 === 0 ? mesh : there, `/big/${i}`, FILE_BYTES, { partitionBytes: MIB })
      }
      took('80 MiB written beside it', performance.now() - startMs)
      await files.check(there)
      if (disk !== undefined) {
        const { store } = await small.status()
        took('MiB that the full disk took', store!.usedBytes / MIB)
        expect(store!.usedBytes).toBeGreaterThan(DISK_BYTES / 3)

        // Now somebody else takes the rest, metadata's reserve and all.
        await fill(join(disk.path, BALLAST))
        await waitFor('it to notice', async () => {
          const { space } = await small.status()
          return space === 'full' || space === 'reserve'
        })
        const known = load.acknowledged()
        await waitFor('the others to go on', () => load.acknowledged() > known + 50)
        await files.put(mesh, '/big/last', FILE_BYTES)
        await files.check(mesh)
        await rm(join(disk.path, BALLAST))
        const roomMs = performance.now()
        await waitFor('it to have room again', async () => (await small.status()).space !== 'full')
        await cluster.ready()
        took('all agree after there is room', performance.now() - roomMs)
      }
      await files.check(there)
      await load.stop()
      await load.audit()
      await Promise.all([mesh.close(), there.close()])
    },
    async () => {},
  )
  expect(failures).toEqual([])
})

/** Writes until there is no room for another byte. */
async function fill(path: string): Promise<void> {
  const { bavail, bsize } = await statfs(join(path, '..'))
  // What the peer writes at the same time may be in the way of the last bytes; a full disk is what is wanted.
  for (let bytes = bavail * bsize; bytes > 0; bytes -= 64 * 1024) {
    const done = await writeFile(path, Buffer.alloc(bytes)).then(
      () => true,
      () => false,
    )
    if (done) return
  }
}

describe('a disk that does not sync', () => {
  const cluster = useCluster(5, { repair: { graceMs: 1_000 } })

  test('EIO of the log: the peer stops at once, the others go on, and nothing is lost', async () => {
    const failures = await report.run(
      'EIO of the log',
      ROUNDS,
      async ({ round, random, took }) => {
        await using load = new ClusterLoad(cluster(), { name: `eio-log/${round}`, clients: 8, random })
        await waitFor('clients at work', () => load.acknowledged() > 20)
        const victim = await chosen(random.next() < 0.5)
        const startMs = performance.now()
        victim.failSyncs('meta')
        await waitFor('it to stop', () => !victim.isRunning)
        took('it stops', performance.now() - startMs)
        expect(victim.takeCrash()).toMatch(/EIO/)
        const known = load.acknowledged()
        await waitFor('the others to go on', () => load.acknowledged() > known + 20)
        took('the others go on', performance.now() - startMs)
        await load.stop()
        await load.audit()
        await victim.start()
      },
      () => cluster().heal(),
    )
    expect(failures).toEqual([])
  })

  /** The leader, or any other. */
  async function chosen(leader: boolean): Promise<PeerProcess> {
    if (leader) return await cluster().leader()
    return (await cluster().followers())[0]!
  }

  test('EIO of the blocks: the peer gives up its slots, what it had is made elsewhere, puts go on', async () => {
    const failures = await report.run(
      'EIO of the blocks',
      Math.ceil(ROUNDS / 2),
      async ({ round, random, took }) => {
        const [victim, other] = shuffled(random, cluster().running()) as [PeerProcess, PeerProcess]
        const files = new KnownFiles(random)
        const [mesh, there] = [await cluster().connect(other), await cluster().connect(victim)]
        for (let i = 0; i < 10; i++) await files.put(mesh, `/eio/${round}/${i}`, MIB)
        const startMs = performance.now()
        victim.failSyncs('blocks', 'tmp')
        for (let i = 10; i < 30; i++) {
          await files.put(i % 2 === 0 ? mesh : there, `/eio/${round}/${i}`, MIB)
        }
        took('20 puts of 1 MiB', performance.now() - startMs)
        await waitFor('its store to be given up', async () => {
          return (await victim.status()).store?.failure !== undefined
        })
        await files.check(mesh)
        await files.check(there)
        await waitFor('three good copies on other disks', () => hasCopiesElsewhere(mesh, files.paths, victim))
        took('three copies on other disks', performance.now() - startMs)
        // A new disk, as it were.
        await victim.stop()
        await victim.start()
        await mesh.weigh(victim.id, 1)
        await Promise.all([mesh.close(), there.close()])
      },
      () => cluster().heal(),
    )
    expect(failures).toEqual([])
  })
})

async function hasCopiesElsewhere(
  mesh: Mesh,
  paths: readonly string[],
  victim: PeerProcess,
): Promise<boolean> {
  for (const path of paths) {
    const { partitions } = await mesh.fs.locate(path)
    if (partitions.some(({ holders }) => holders.filter(holder => holder !== victim.id).length < 3))
      return false
  }
  return true
}
