import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { below, pick, type Random } from '../../src/base/index.ts'
import { ChaosRounds, ROUNDS, SEED } from '../support/chaos-rounds.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

// Places in the last 64 KiB of a log on a real disk, one after the other, flipped and cut: the unit test with a shorter stride.
process.env['SHOAL_STRIDE'] ??= '61'
process.env['SHOAL_SEED'] ??= String(SEED)
await import('../unit/gossip/log-damage.test.ts')

const TAIL_BYTES = 64 * 1024

const cluster = useCluster(5)
const report = new ChaosRounds()
let operations = 0

afterAll(() => console.log(`\n${report.table()}\n${operations} operations in checked histories`))

test('a peer whose log was damaged while it was down goes on or begins anew, and nothing is lost', async () => {
  const failures = await report.run(
    'log of one peer damaged',
    ROUNDS,
    async ({ round, random, took }) => {
      await using load = new ClusterLoad(cluster(), { name: `log-damage/${round}`, clients: 6, random })
      await waitFor('clients at work', () => load.acknowledged() > 20)
      const victim = pick(random, cluster().peers)!
      await victim.kill()
      await damage(random, join(victim.dataDirectory, 'meta'))
      const [startMs, startedMs] = [performance.now(), Date.now()]
      await victim.start()
      await cluster().ready()
      took('agrees with the others', performance.now() - startMs)
      const { damagedLogs } = await victim.status()
      const isAside = damagedLogs.some(({ atMs }) => atMs >= startedMs)
      took('percent set aside', isAside ? 100 : 0)
      // Begun anew, it has no vote before the others have settled what it may have said in the life that it forgot.
      await waitFor('it to be trusted again', async () => !(await victim.status()).forgot)
      if (isAside) took('trusted again', performance.now() - startMs)
      await waitFor('it to have applied what the leader has', async () => {
        const statuses = await Promise.all(cluster().peers.map(peer => peer.status()))
        const highest = Math.max(...statuses.map(({ appliedIndex }) => appliedIndex))
        return (await victim.status()).appliedIndex >= highest - 100
      })
      operations += await load.stop()
      await load.audit()
    },
    () => cluster().heal(),
  )
  expect(failures).toEqual([])
})

/** Flips a bit of the log's last 64 KiB, or cuts it off there. */
async function damage(random: Random, directory: string): Promise<void> {
  const segments = (await readdir(directory)).filter(name => name.startsWith('log-')).sort()
  const file = join(directory, segments.at(-1)!)
  const bytes = await readFile(file)
  const at = bytes.length - 1 - below(random, Math.min(TAIL_BYTES, bytes.length))
  if (random.next() < 0.5) return await truncate(file, at)
  bytes[at] = bytes[at]! ^ (1 << below(random, 8))
  await writeFile(file, bytes)
}
