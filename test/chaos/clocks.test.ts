import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { below, pick } from '../../src/base/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { KnownFiles } from '../support/known-files.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const OFFSETS_MS = [HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS, 30 * DAY_MS, 0]
const JUMPS = 12
const MIB = 1024 * 1024

// Its trash ends after ten minutes and its writes after one: jumps of hours would end both at once.
const cluster = useCluster(5, { repair: { graceMs: 1_000, leaseSweepMs: 1_000, trashAgeMs: 600_000 } })
const report = new ChaosRounds()
let operations = 0

afterAll(() => console.log(`\n${report.table()}\n${operations} operations in checked histories`))

/**
 * The clock that JavaScript shows jumps in each process by itself (`Date`, see process-faults.ts); monotonic clocks go on, as
 * they do when somebody sets the time of a machine. The simulator does the same to its peers, in every profile.
 */
test('wall clocks jump by hours and days: nobody notices', async () => {
  const failures = await report.run(
    'wall clocks jump',
    ROUNDS,
    async ({ round, random, took }) => {
      const leader = await cluster().leader()
      const { term } = await leader.status()
      const follower = pick(random, await cluster().followers())!
      const mesh = await cluster().connect(follower)
      const files = new KnownFiles(random)
      const removed = `/clocks/${round}/removed`
      await files.put(mesh, removed, 100_000)
      await mesh.fs.rm(removed)
      await using load = new ClusterLoad(cluster(), { name: `clocks-load/${round}`, clients: 8, random })
      await waitFor('clients at work', () => load.acknowledged() > 20)
      const before = load.acknowledged()
      const startMs = performance.now()
      // A write whose lease is open all the while.
      const slow = files.put(mesh, `/clocks/${round}/slow`, 2 * MIB, { pause: () => wait(200) })
      slow.catch(() => {})
      for (let jump = 0; jump < JUMPS; jump++) {
        const peer = pick(random, cluster().peers)!
        peer.setClock(pick(random, OFFSETS_MS)! + below(random, 1_000))
        await wait(400)
      }
      await slow
      const elapsedMs = performance.now() - startMs
      took('acknowledged changes per second', ((load.acknowledged() - before) * 1_000) / elapsedMs)
      // Nobody had a reason to vote, or to doubt anybody.
      const statuses = await Promise.all(cluster().peers.map(peer => peer.status()))
      expect(statuses.map(status => status.term)).toEqual(statuses.map(() => term))
      expect(statuses.every(({ members }) => members.every(({ liveness }) => liveness === 'alive'))).toBe(
        true,
      )

      // The next leader has another clock, and takes the time from the log all the same: nothing of the trash is old.
      const killMs = performance.now()
      await leader.kill()
      await leads(leader)
      took('new leader with its own clock', performance.now() - killMs)
      await mesh.fs.mkdir(`/clocks/${round}/made`)
      expect(await mesh.fs.undelete(removed)).toMatchObject({ path: removed })
      await files.check(mesh)

      // Peers that start with clocks a day or a month apart, among them the one that leads next and whoever dials it.
      for (const peer of cluster().peers) peer.setClock(pick(random, OFFSETS_MS)! + below(random, 1_000))
      leader.setClock(DAY_MS)
      follower.setClock(-DAY_MS)
      await follower.kill()
      await Promise.all([leader.start(), follower.start()])
      await cluster().ready()
      operations += await load.stop()
      await load.audit()
      const again = await cluster().connect()
      await files.check(again)
      expect(await again.range(0, 1_000, 1, 10).reduce((a, b) => a + b)).toBe(499_500)
      await Promise.all([mesh.close(), again.close()])
    },
    () => {
      for (const peer of cluster().peers) peer.setClock(0)
      return cluster().heal()
    },
  )
  expect(failures).toEqual([])
})

async function leads(not: PeerProcess): Promise<void> {
  await waitFor('another leader', async () => {
    for (const peer of cluster().running()) {
      const status = await peer.status()
      if (peer !== not && status.role === 'leader' && status.leader === peer.id) return true
    }
    return false
  })
}
