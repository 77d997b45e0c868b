import { afterAll, expect, test } from 'vitest'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { waitFor } from '../support/wait-for.ts'

/** Each needs some 160 MB and a second or two of a processor to start. */
const PEERS = Number(process.env['SHOAL_CROWD'] ?? 30)
/** On two processors most of it is the programs starting. */
const START_TIMEOUT_MS = 300_000

const report = new ChaosRounds()

afterAll(() => console.log(`\n${report.table()}`))

test(`${PEERS} peers started at the same time become one mesh with one leader and five voters`, async () => {
  const failures = await report.run(
    `${PEERS} peers at once`,
    Math.ceil(ROUNDS / 2),
    async ({ took }) => {
      const startMs = performance.now()
      // Resolves when all of them agree on leader, members and voters.
      await using cluster = await LocalCluster.startAtOnce(PEERS, START_TIMEOUT_MS, () => {
        took('last program serves', performance.now() - startMs)
      })
      took('all agree, from the first program on', performance.now() - startMs)
      const statuses = await Promise.all(cluster.peers.map(peer => peer.status()))
      expect(new Set(statuses.map(({ meshId }) => meshId)).size).toBe(1)
      expect(new Set(statuses.map(({ leader }) => leader)).size).toBe(1)
      expect(statuses.filter(({ role }) => role === 'leader').length).toBe(1)
      for (const { voters, members } of statuses) {
        expect(voters.length).toBe(5)
        expect(members.length).toBe(PEERS)
      }
      const resident = statuses.map(({ rssBytes }) => rssBytes / 1e6)
      took('MB resident in a peer', Math.max(...resident))
      await serves(cluster.peers.at(-1)!, cluster)
    },
    async () => {},
  )
  expect(failures).toEqual([])
})

async function serves(peer: PeerProcess, cluster: LocalCluster): Promise<void> {
  const mesh = await cluster.connect(peer)
  await waitFor('a job over all peers', async () => {
    return (await mesh.range(0, 300, 1, PEERS).reduce((a, b) => a + b)) === 44_850
  })
  await mesh.close()
}
