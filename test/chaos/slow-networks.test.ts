import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Random } from '../../src/base/index.ts'
import type { LinkFault } from '../../src/chaos/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { ChaosRounds, percentile, ROUNDS } from '../support/chaos-rounds.ts'
import { doze } from '../support/doze.ts'
import { bytesOf } from '../support/file-bytes.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import { useCluster } from '../support/use-cluster.ts'
import { countWords } from '../support/word-oracle.ts'

const DELAY_MS = 200
/** Each way, each time it is drawn, stands still with this probability until it is drawn again. */
const STALL_SHARE = 0.05
const STALL_MS = 250
/** 1 Mbit/s. */
const SLOW_BYTES_PER_SECOND = 125_000
/** A leader may change no more often than once in this time, so a network is bad for as long as this. */
const BAD_MS = 60_000
const TASKS = 40
const TASK_MS = 1_000
const JOB_TIMEOUT_MS = 120_000

const cluster = useCluster(5, { throughProxies: true })
const report = new ChaosRounds()
let baselineMs = 0
let operations = 0

const TEXT = Array.from({ length: 20_000 }, (_, at) => `w${at % 97} w${at % 31} w${at % 7}`).join('\n')
const ORACLE = new Map(countWords(TEXT))

afterAll(() =>
  console.log(
    `\n${report.table()}\nundisturbed job: ${baselineMs.toFixed(0)} ms; ${operations} operations in checked histories`,
  ),
)

/** Some ten seconds of work that is no computing, two stages and a shuffle of a few KiB. */
async function job(mesh: Mesh): Promise<number> {
  const startMs = performance.now()
  const counts = await mesh
    .textFile('/text', TASKS)
    .mapPartitions(lines => {
      doze(TASK_MS)
      return lines
    })
    .flatMap(line => line.split(' '))
    .map(word => [word, 1])
    .reduceByKey((left, right) => left + right, 5)
    .collect({ signal: AbortSignal.timeout(JOB_TIMEOUT_MS) })
  expect(new Map(counts)).toEqual(ORACLE)
  return performance.now() - startMs
}

beforeAll(async () => {
  const writer = await cluster().connect()
  await writer.fs.put('/text', bytesOf(TEXT), { partitionBytes: Math.ceil(TEXT.length / TASKS) })
  const { partitions } = await writer.fs.locate('/text')
  expect(partitions.length).toBeGreaterThanOrEqual(TASKS - 1)
  await writer.close()
  const times: number[] = []
  for (let i = 0; i < 3; i++) {
    // A client of its own each time: a second job of one client would find its map outputs.
    const mesh = await cluster().connect()
    times.push(await job(mesh))
    await mesh.close()
  }
  baselineMs = percentile(times, 0.5)
})

const heal = (): Promise<void> => cluster().heal()

/** What a bad network may cost: no more than one election, and a job three times its time. */
async function bear(
  bad: () => Promise<AsyncDisposable>,
  name: string,
  random: Random,
  took: (what: string, value: number) => void,
): Promise<void> {
  const term = (await (await cluster().leader()).status()).term
  await using load = new ClusterLoad(cluster(), { name, clients: 4, random, operationTimeoutMs: 30_000 })
  const startMs = performance.now()
  {
    await using _bad = await bad()
    const known = load.acknowledged()
    const mesh = await cluster().connect()
    const jobMs = await job(mesh)
    took('job, in percent of undisturbed', (jobMs / baselineMs) * 100)
    expect(jobMs).toBeLessThan(3 * baselineMs)
    await mesh.close()
    await wait(Math.max(0, BAD_MS - (performance.now() - startMs)))
    const elapsedMs = performance.now() - startMs
    took('acknowledged changes per minute', ((load.acknowledged() - known) * BAD_MS) / elapsedMs)
    expect(load.acknowledged()).toBeGreaterThan(known)
    const terms = (await Promise.all(cluster().peers.map(peer => peer.status()))).map(status => status.term)
    took('new terms', Math.max(...terms) - term)
    expect(Math.max(...terms) - term).toBeLessThanOrEqual(Math.ceil(elapsedMs / BAD_MS))
  }
  operations += await load.stop()
  await load.audit()
}

test(`${DELAY_MS} ms each way and one way in twenty standing still: leaders stay, jobs end`, async () => {
  const failures = await report.run(
    'delay and stalls',
    Math.ceil(ROUNDS / 4),
    ({ round, random, took }) =>
      bear(
        async () => {
          const over = new AbortController()
          const stalling = stallAtRandom(random, over.signal)
          return {
            async [Symbol.asyncDispose]() {
              over.abort()
              await stalling
              cluster().links.heal()
            },
          }
        },
        `delay/${round}`,
        random,
        took,
      ),
    heal,
  )
  expect(failures).toEqual([])
})

async function stallAtRandom(random: Random, signal: AbortSignal): Promise<void> {
  const names = cluster().peers.map(({ name }) => name)
  while (!signal.aborted) {
    for (const from of names) {
      for (const to of names) {
        const fault: LinkFault = { delayMs: DELAY_MS, stall: random.next() < STALL_SHARE }
        if (from !== to) cluster().links.set(from, to, fault)
      }
    }
    await wait(STALL_MS, undefined, { signal }).catch(() => {})
  }
}

test('one peer has 1 Mbit/s: leaders stay, jobs end', async () => {
  const failures = await report.run(
    'one slow peer',
    Math.ceil(ROUNDS / 4),
    async ({ round, random, took }) => {
      const leader = await cluster().leader()
      // In turns the leader and somebody else.
      const slow = round % 2 === 0 ? leader : (await cluster().followers())[0]!
      const others = cluster().peers.filter(peer => peer !== slow)
      await bear(
        async () => {
          cluster().links.between(
            [slow.name],
            others.map(({ name }) => name),
            {
              bytesPerSecond: SLOW_BYTES_PER_SECOND,
            },
          )
          return { [Symbol.asyncDispose]: async () => cluster().links.heal() }
        },
        `slow/${round}`,
        random,
        took,
      )
    },
    heal,
  )
  expect(failures).toEqual([])
})
