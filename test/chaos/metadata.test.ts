import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { below, hasCode, ShoalError, shuffled, sleep } from '../../src/base/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { bytesOf, textOf } from '../support/file-bytes.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

/** How long a leader stands still, and how long a partition lasts. */
const TROUBLE_MS = 10_000
/** Creates per second that are asked for; what was reached is in the table. */
const CREATES_PER_S = 200
const CREATORS = 20
/** So many that no two creates meet. */
const FILES_MANY = 2 ** 31

const cluster = useCluster(5, { throughProxies: true })
const report = new ChaosRounds()
let operations = 0

afterAll(() => {
  console.log(`\n${report.table()}\n${operations} operations in checked histories`)
})

const heal = (): Promise<void> => cluster().heal()

/** Another peer than those leads, and says so itself. */
async function otherLeader(than: readonly PeerProcess[]): Promise<PeerProcess> {
  return await waitFor('another leader', async () => {
    for (const peer of cluster().running()) {
      if (than.includes(peer)) continue
      const status = await peer.status().catch(() => undefined)
      if (status?.role === 'leader' && status.leader === peer.id) return peer
    }
    return undefined
  })
}

test('the leader is killed while files are created: none that was acknowledged is lost', async () => {
  const failures = await report.run(
    'kill the leader during creates',
    ROUNDS,
    async ({ round, random, took }) => {
      await using load = new ClusterLoad(cluster(), {
        name: `kill-leader/${round}`,
        clients: CREATORS,
        random,
        files: FILES_MANY,
        mix: ['create'],
        pauseMs: (2 * CREATORS * 1_000) / CREATES_PER_S,
      })
      await waitFor('all clients to have begun', () => load.acknowledged() >= CREATORS)
      const [startMs, begun] = [performance.now(), load.acknowledged()]
      await sleep(1_500 + below(random, 1_000))
      const before = load.acknowledged() - begun
      took('creates per second before', (before * 1_000) / (performance.now() - startMs))
      const leader = await cluster().leader()
      const killMs = performance.now()
      await leader.kill()
      await otherLeader([leader])
      took('new leader', performance.now() - killMs)
      const known = load.acknowledged()
      await waitFor('creates again', () => load.acknowledged() > known + CREATORS)
      took('creates again', performance.now() - killMs)
      operations += await load.stop()
      await load.audit()
    },
    heal,
  )
  expect(failures).toEqual([])
  expect(report.percentile('kill the leader during creates', 'new leader', 0.95)).toBeLessThan(5_000)
})

test('a leader that stood still is not obeyed, and its peer answers nothing old', async () => {
  const failures = await report.run(
    'leader stands still for 10 s',
    ROUNDS,
    async ({ round, random, took }) => {
      const leader = await cluster().leader()
      const { term } = await leader.status()
      const [bystander] = await cluster().followers()
      await using load = new ClusterLoad(cluster(), { name: `stand-still/${round}`, clients: 8, random })
      const [near, far] = [await cluster().connect(leader), await cluster().connect(bystander)]
      const path = `/still-${round}`
      await near.fs.put(path, bytesOf('old'))
      const pauseMs = performance.now()
      leader.pause()
      await otherLeader([leader])
      took('new leader', performance.now() - pauseMs)
      await far.fs.put(path, bytesOf('new'), { overwrite: true })
      // A command of the old leader that may be in flight when it stops: it sits in its buffers until it goes on.
      const late = near.fs.put(`${path}-late`, bytesOf('late'))
      late.catch(() => {})
      await sleep(Math.max(0, TROUBLE_MS - (performance.now() - pauseMs)))
      leader.resume()
      const resumeMs = performance.now()
      let answers = 0
      while (performance.now() - resumeMs < 2_000) {
        const text = await textOf(near.fs.get(path, { signal: AbortSignal.timeout(5_000) })).catch(refusal)
        if (text === undefined) continue
        expect(text).toBe('new')
        answers++
      }
      took('answers of the old leader', answers)
      const status = await waitFor('it to follow', async () => {
        const seen = await leader.status()
        return seen.role !== 'leader' && seen.leader !== undefined && seen
      })
      took('follows again', performance.now() - resumeMs)
      expect(status.term).toBeGreaterThan(term)
      await late.catch(refusal)
      operations += await load.stop()
      await load.audit()
      await Promise.all([near.close(), far.close()])
    },
    heal,
  )
  expect(failures).toEqual([])
})

/** An answer that says nothing about the files is fine; anything else is not. */
function refusal(error: unknown): undefined {
  if (error instanceof Error && !hasCode(error, 'NOT_FOUND') && !hasCode(error, 'INTERNAL')) return undefined
  throw error
}

const KINDS = ['2/3 split', 'one-way', 'non-transitive'] as const

test('partitions: the minority refuses, what was answered has one order, and it heals', async () => {
  const failures = await report.run(
    'partitions of 10 s',
    ROUNDS,
    async ({ round, random, took }) => {
      const kind = KINDS[(round - 1) % KINDS.length]!
      const leader = await cluster().leader()
      const others = shuffled(random, await cluster().followers())
      const { links } = cluster()
      await using load = new ClusterLoad(cluster(), {
        name: `partition/${round}`,
        clients: 10,
        random,
        operationTimeoutMs: 15_000,
      })
      await sleep(1_000)
      const names = (peers: PeerProcess[]): string[] => peers.map(({ name }) => name)
      const startMs = performance.now()
      // Silence, as when packets are dropped, or resets, as when a host says that there is no way.
      const fault = random.next() < 0.5 ? { stall: true } : { cut: true }
      if (kind === '2/3 split') {
        // In turns with the leader among the few, and among the many.
        const minority = round % 2 === 0 ? [leader, others[0]!] : others.slice(0, 2)
        const majority = cluster().peers.filter(peer => !minority.includes(peer))
        const cutOff = await cluster().connectWith({ waitMs: 0 }, minority[1])
        links.between(names(minority), names(majority), fault)
        const cutMs = performance.now()
        // A leader that does not know yet may have written it down, and a silent link may yet bring it to another.
        const first = refusalOf(cutOff.fs.mkdir(`/nobody-agrees-${round}`))
        await Promise.all(minority.map(peer => leadsNot(peer)))
        took('minority does not lead', performance.now() - cutMs)
        await otherLeader(minority)
        took('majority is led', performance.now() - cutMs)
        const refused = await first
        expect(['NO_QUORUM', 'UNKNOWN_OUTCOME']).toContain(refused.code)
        took('minority has answered', refused.tookMs)
        const second = await refusalOf(cutOff.fs.mkdir(`/nobody-agrees-${round}-again`))
        // Whom it asks who leads may get the question when the silence is over.
        expect(fault.stall === true ? ['NO_QUORUM', 'UNKNOWN_OUTCOME'] : ['NO_QUORUM']).toContain(second.code)
        took('minority has refused', second.tookMs)
        const read = await refusalOf(cutOff.fs.stat('/'))
        expect(read.code).toBe('NO_QUORUM')
        took('minority reads nothing', read.tookMs)
        await cutOff.close()
      } else if (kind === 'one-way') {
        for (const other of others) links.set(leader.name, other.name, { stall: true })
        await otherLeader([leader])
        took('one-way: another leads', performance.now() - startMs)
      } else {
        // Everybody still sees a majority, though not the same one.
        const ring = cluster().peers
        for (const [i, peer] of ring.entries()) {
          links.between([peer.name], [ring[(i + 1) % ring.length]!.name], fault)
        }
      }
      await sleep(Math.max(0, TROUBLE_MS - (performance.now() - startMs)))
      links.heal()
      const healMs = performance.now()
      await cluster().ready()
      took('heals', performance.now() - healMs)
      operations += await load.stop()
      await load.audit()
    },
    heal,
  )
  expect(failures).toEqual([])
  expect(report.percentile('partitions of 10 s', 'minority does not lead', 1)).toBeLessThan(3_000)
  // A peer asks around for 3 s, in case that a leader comes.
  expect(report.percentile('partitions of 10 s', 'minority has answered', 1)).toBeLessThan(3_500)
  expect(report.percentile('partitions of 10 s', 'minority has refused', 1)).toBeLessThan(3_500)
  expect(report.percentile('partitions of 10 s', 'minority reads nothing', 1)).toBeLessThan(3_500)
  expect(report.percentile('partitions of 10 s', 'heals', 1)).toBeLessThan(10_000)
})

async function leadsNot(peer: PeerProcess): Promise<void> {
  await waitFor(`${peer.name} to know that it has no majority`, async () => {
    return (await peer.status()).role !== 'leader'
  })
}

/** The code that a command ends with, 'done' when it was carried out, and how long that took. */
async function refusalOf(command: Promise<unknown>): Promise<{ code: string; tookMs: number }> {
  const startMs = performance.now()
  const code = await command.then(
    () => 'done',
    (error: unknown) => (error instanceof ShoalError ? error.code : String(error)),
  )
  return { code, tookMs: performance.now() - startMs }
}

test('all five peers are killed at once: all that was acknowledged is back', async () => {
  const failures = await report.run(
    'kill all five during changes',
    ROUNDS,
    async ({ round, random, took }) => {
      await using load = new ClusterLoad(cluster(), {
        name: `kill-all/${round}`,
        clients: 10,
        random,
        operationTimeoutMs: 10_000,
      })
      await wait(1_000 + below(random, 1_500))
      await Promise.all(cluster().peers.map(peer => peer.kill()))
      const startMs = performance.now()
      await cluster().heal()
      took('mesh serves again', performance.now() - startMs)
      operations += await load.stop()
      await load.audit()
    },
    heal,
  )
  expect(failures).toEqual([])
})
