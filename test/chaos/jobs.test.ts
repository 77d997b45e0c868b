import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { below, shuffled } from '../../src/base/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { ChaosRounds, percentile, ROUNDS, type Round } from '../support/chaos-rounds.ts'
import { doze } from '../support/doze.ts'
import { bytesOf } from '../support/file-bytes.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { countWords, sampleText } from '../support/word-oracle.ts'

/** Five peers, five voters: two may be gone at any time. */
const cluster = useCluster(5)
const report = new ChaosRounds()

const TEXT = sampleText(40_000, 2026)
const PARTITION_BYTES = 128 * 1024
/** A job that never ends is a failure like a wrong answer. */
const JOB_TIMEOUT_MS = 120_000

/** The answer by plain loops: how many distinct words occur n times, for each n. */
const ORACLE = new Map<number, number>()
for (const count of countWords(TEXT).values()) ORACLE.set(count, (ORACLE.get(count) ?? 0) + 1)

/** The same through three stages; each task also waits a little, so that there is a middle of the job to kill in. */
async function histogram(mesh: Mesh): Promise<Map<number, number>> {
  const pairs = await mesh
    .textFile('/chaos.txt')
    .mapPartitions(lines => {
      doze(100)
      return lines
    })
    .flatMap(line => line.split(' '))
    .filter(word => word !== '')
    .map(word => [word, 1])
    .reduceByKey((left, right) => left + right, 8)
    .mapPartitions(counted => {
      doze(100)
      return counted
    })
    .map(([, count]) => [count, 1])
    .reduceByKey((left, right) => left + right, 4)
    .collect({ signal: AbortSignal.timeout(JOB_TIMEOUT_MS) })
  expect(new Map(pairs).size).toBe(pairs.length)
  return new Map(pairs)
}

let undisturbedMs = 0

beforeAll(async () => {
  const writer = await cluster().connect()
  await writer.fs.put('/chaos.txt', bytesOf(TEXT), { partitionBytes: PARTITION_BYTES })
  await writer.close()
  const times: number[] = []
  for (let i = 0; i < 5; i++) {
    // A client of its own each time: a second job of one client would find its map outputs.
    const mesh = await cluster().connect()
    const startMs = performance.now()
    expect(await histogram(mesh)).toEqual(ORACLE)
    times.push(performance.now() - startMs)
    await mesh.close()
  }
  // The first ones start the workers.
  undisturbedMs = percentile(times.slice(2), 0.5)
  console.log(`undisturbed: ${undisturbedMs.toFixed(0)} ms`)
})

afterAll(() => {
  console.log(`\n${report.table()}\nundisturbed job: ${undisturbedMs.toFixed(0)} ms`)
})

/** Runs the job, does harm in the middle of it, and wants the right answer all the same. */
async function underFire(
  { took, random }: Round,
  attached: PeerProcess,
  harm: (mesh: Mesh) => Promise<void>,
): Promise<void> {
  const mesh = await cluster().connect(attached)
  try {
    const startMs = performance.now()
    const job = histogram(mesh)
    job.catch(() => {})
    await wait(random.next() * undisturbedMs * 0.9)
    await harm(mesh)
    expect(await job).toEqual(ORACLE)
    took('job', performance.now() - startMs)
  } finally {
    await mesh.close()
  }
}

const heal = (): Promise<void> => cluster().heal()

test('an executor is killed at a random moment of a job', async () => {
  const failures = await report.run(
    'kill an executor',
    ROUNDS,
    async round => {
      const [attached, victim] = shuffled(round.random, await cluster().followers())
      await underFire(round, attached!, () => victim!.kill())
    },
    heal,
  )
  expect(failures).toEqual([])
})

test('the leader is killed at a random moment of a job', async () => {
  const failures = await report.run(
    'kill the leader',
    ROUNDS,
    async round => {
      const leader = await cluster().leader()
      const [attached] = shuffled(round.random, await cluster().followers())
      await underFire(round, attached!, async mesh => {
        await leader.kill()
        const startMs = performance.now()
        await mesh.fs.mkdir(`/led/${round.round}-${startMs}`, { parents: true })
        round.took('new leader serves', performance.now() - startMs)
      })
    },
    heal,
  )
  expect(failures).toEqual([])
})

test('two peers, whoever they are, are killed one after the other during a job', async () => {
  const failures = await report.run(
    'kill two peers',
    ROUNDS,
    async round => {
      const [attached, first, second] = shuffled(round.random, cluster().running())
      await underFire(round, attached!, async () => {
        await first!.kill()
        await wait(below(round.random, undisturbedMs))
        await second!.kill()
      })
    },
    heal,
  )
  expect(failures).toEqual([])
})

test('the leader stands still for ten seconds during a job and comes back as a follower', async () => {
  const failures = await report.run(
    'stop the leader 10 s',
    Math.ceil(ROUNDS / 5),
    async round => {
      const leader = await cluster().leader()
      const [attached] = shuffled(round.random, await cluster().followers())
      const before = await attached!.status()
      await underFire(round, attached!, async mesh => {
        leader.pause()
        const startMs = performance.now()
        await mesh.fs.mkdir(`/stood/${round.round}-${startMs}`, { parents: true })
        round.took('new leader serves', performance.now() - startMs)
        await wait(10_000 - (performance.now() - startMs))
        leader.resume()
      })
      await cluster().ready()
      const after = await leader.status()
      expect(after.term).toBeGreaterThan(before.term)
    },
    heal,
  )
  expect(failures).toEqual([])
})
