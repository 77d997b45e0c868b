import { afterAll, expect, test } from 'vitest'
import { shuffled } from '../../src/base/index.ts'
import type { CheckedBlock } from '../../src/dht/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { KnownFiles } from '../support/known-files.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const KIB = 1024
const FILES = 60
const FILE_BYTES = 512 * KIB
/** A dead peer may come back for so long before others take its slots, unless hardly a copy is left. */
const GRACE_MS = 10_000
/** Slow enough that what waits for its turn can be told from what does not. */
const COPY_BYTES_PER_SECOND = 1024 * KIB

const cluster = useCluster(5, { repair: { graceMs: GRACE_MS }, copyBytesPerSecond: COPY_BYTES_PER_SECOND })
const report = new ChaosRounds()

afterAll(() => console.log(`\n${report.table()}`))

test('two of three holders die: what has one copy left is copied before all else, then the rest', async () => {
  const failures = await report.run(
    'two of three holders die',
    ROUNDS,
    async ({ round, random, took }) => {
      const directory = `/last/${round}`
      const writer = await cluster().connect()
      const files = new KnownFiles(random)
      for (let i = 0; i < FILES; i++) await files.put(writer, `${directory}/${i}`, FILE_BYTES)
      await waitFor('three copies of all', async () => {
        return (await blocksOf(writer, directory)).every(block => living(block) === 3)
      })
      await writer.close()
      const [first, second, ...rest] = shuffled(random, cluster().running()) as [PeerProcess, PeerProcess]
      const mesh = await cluster().connect(...(rest as PeerProcess[]))
      const copiesLeft = new Map(
        (await blocksOf(mesh, directory)).map(({ blockId, holders }) => [
          blockId,
          holders.filter(({ peer }) => peer !== first.id && peer !== second.id).length,
        ]),
      )
      const startMs = performance.now()
      await Promise.all([first.kill(), second.kill()])
      // With one copy left of some, everything can still be read.
      const reading = files.check(mesh)
      reading.catch(() => {})
      const safer = new Map<number, number[]>([1, 2, 3].map(copies => [copies, []]))
      const seen = new Set<string>()
      await waitFor(
        'three copies of all again',
        async () => {
          const blocks = await blocksOf(mesh, directory)
          for (const block of blocks) {
            const left = copiesLeft.get(block.blockId)!
            const enough = left === 1 ? 2 : 3
            if (seen.has(block.blockId) || living(block, [first, second]) < enough) continue
            seen.add(block.blockId)
            safer.get(left)!.push(performance.now() - startMs)
          }
          return blocks.every(block => living(block, [first, second]) === 3)
        },
        120_000,
      )
      const [urgent, others] = [safer.get(1)!, safer.get(2)!]
      took('blocks with one copy left', urgent.length)
      took('all of them have two', Math.max(...urgent))
      took('first of the others has three', Math.min(...others))
      took('all have three', performance.now() - startMs)
      expect(urgent.length).toBeGreaterThan(0)
      expect(others.length).toBeGreaterThan(0)
      expect(Math.max(...urgent)).toBeLessThan(Math.min(...others))
      await reading
      await mesh.close()
    },
    () => cluster().heal(),
  )
  expect(failures).toEqual([])
})

async function blocksOf(mesh: Mesh, directory: string): Promise<CheckedBlock[]> {
  const blocks: CheckedBlock[] = []
  for await (const file of mesh.fs.fsck(directory, { blocks: true, consistency: 'stale' })) {
    blocks.push(...(file.blocks ?? []))
  }
  return blocks
}

/** Good copies on peers that live, whether or not that was noticed. */
function living({ holders }: CheckedBlock, dead: readonly PeerProcess[] = []): number {
  return holders.filter(({ peer, state }) => state === 'good' && !dead.some(({ id }) => id === peer)).length
}
