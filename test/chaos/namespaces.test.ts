import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { shuffled, sleep } from '../../src/base/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import { Namespaces } from '../support/namespaces.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { waitFor } from '../support/wait-for.ts'

const PEERS = 5
const TROUBLE_MS = 10_000
const KINDS = ['2/3 split', 'one-way', 'non-transitive'] as const

/** Real packets, really dropped. Where that cannot be done it is skipped. */
describe.skipIf(!Namespaces.arePossible())('peers in network namespaces of their own', () => {
  let spaces: Namespaces
  let cluster: LocalCluster
  const report = new ChaosRounds()

  beforeAll(async () => {
    spaces = Namespaces.create(PEERS)
    cluster = await LocalCluster.start(PEERS, { namespaces: spaces })
  })
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]()
    spaces?.[Symbol.dispose]()
    console.log(`\n${report.table()}`)
  })

  const heal = async (): Promise<void> => {
    spaces.heal()
    await cluster.heal()
  }

  async function leaderAmong(peers: readonly PeerProcess[]): Promise<void> {
    await waitFor('a leader among those who see each other', async () => {
      const statuses = await Promise.all(peers.map(peer => peer.status()))
      return peers.some((peer, i) => statuses[i]!.role === 'leader' && statuses[i]!.leader === peer.id)
    })
  }

  test.each(KINDS)('%s: answers have one order, and it heals', async kind => {
    const name = `${kind} by dropped packets`
    const failures = await report.run(
      name,
      ROUNDS,
      async ({ round, random, took }) => {
        const leader = await cluster.leader()
        const others = shuffled(random, await cluster.followers())
        const at = (peer: PeerProcess): number => cluster.peers.indexOf(peer)
        await using load = new ClusterLoad(cluster, {
          name: `netns-${KINDS.indexOf(kind)}/${round}`,
          clients: 6,
          random,
          operationTimeoutMs: 15_000,
        })
        await sleep(1_000)
        const startMs = performance.now()
        if (kind === '2/3 split') {
          const minority = [leader, others[0]!]
          const majority = others.slice(1)
          spaces.part(minority.map(at), majority.map(at))
          await Promise.all([
            leaderAmong(majority).then(() => took('majority is led', performance.now() - startMs)),
            waitFor(
              'the old leader to step down',
              async () => (await leader.status()).role !== 'leader',
            ).then(() => took('minority does not lead', performance.now() - startMs)),
          ])
        } else if (kind === 'one-way') {
          for (const other of others) spaces.drop(at(leader), at(other))
          await leaderAmong(others)
          took('another leads', performance.now() - startMs)
        } else {
          for (let i = 0; i < PEERS; i++) spaces.part([i], [(i + 1) % PEERS])
        }
        await sleep(Math.max(0, TROUBLE_MS - (performance.now() - startMs)))
        spaces.heal()
        const healMs = performance.now()
        await cluster.ready()
        took('heals', performance.now() - healMs)
        await load.stop()
        await load.audit()
      },
      heal,
    )
    expect(failures).toEqual([])
    expect(report.percentile(name, 'heals', 1)).toBeLessThan(10_000)
  })
})
