import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { hasCode, pick } from '../../src/base/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { createLocal, encodeRows, type DatasetContext } from '../../src/rdd/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { doze } from '../support/doze.ts'
import type { RequesterSettings } from '../support/requester-main.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

/** Executors die all the time, and tasks, workers and requesters do what they should not. */
const cluster = useCluster(5)
const report = new ChaosRounds()

const REQUESTER = fileURLToPath(new URL('../support/requester-main.ts', import.meta.url))
/** 60 with the usual 20 rounds. */
const KILLS = 3 * ROUNDS
const KILL_EVERY_MS = 5_000
/** A job that never ends is a failure like a wrong answer. */
const JOB_TIMEOUT_MS = 240_000
/** What the leader waits for a silent requester, and much more than it takes to say so. */
const LEASE_TIMEOUT_MS = 60_000

const heal = (): Promise<void> => cluster().heal()

afterAll(() => {
  console.log(`\n${report.table()}`)
})

/**
 * Four shuffles of sums of fractions, which show any change of order, of keys of mixed types, and of lists. `waitMs` makes
 * each task last; it does not change a bit of the answer.
 */
async function answer(datasets: DatasetContext, salt: number, waitMs: number): Promise<Uint8Array> {
  const slowly = <T>(rows: Iterable<T>): Iterable<T> => {
    if (waitMs > 0) doze(waitMs)
    return rows
  }
  const sums = datasets
    .range(0, 12_000, 1, 16)
    .mapPartitions(slowly)
    .map(number => {
      const key: unknown =
        number % 3 === 0 ? `k${number % 211}` : number % 3 === 1 ? number % 97 : [number % 13, 'x']
      return [key, (number + salt) / 7] as [unknown, number]
    })
    .reduceByKey((left, right) => left + right, 8)
    .mapPartitions(slowly)
  const groups = datasets
    .range(0, 4_000, 1, 8)
    .mapPartitions(slowly)
    .map(number => [number % 97, number * salt] as [unknown, number])
    .groupByKey(8)
  const rows = await sums
    .cogroup(groups)
    .mapPartitions(slowly)
    .map(([key, [values, lists]]) => [String(key), [values, lists]] as const)
    .sortBy(([key]) => key, true, 4)
    .collect({ signal: AbortSignal.timeout(JOB_TIMEOUT_MS) })
  return encodeRows(rows)
}

/** On a machine that is starved, a peer may need more than one wait for its start; whoever has ended by itself is a failure. */
async function patiently(): Promise<void> {
  await heal().catch(async error => {
    if (!hasCode(error, 'TIMEOUT')) throw error
    await heal()
  })
}

/** One peer after the other is killed at its time and comes back before the next one goes. */
async function killOneAfterTheOther(
  kills: number,
  random: { next(): number },
  took: (what: string, ms: number) => void,
): Promise<void> {
  for (let kill = 1; kill <= kills; kill++) {
    const nextMs = performance.now() + KILL_EVERY_MS
    const victim = pick(random, cluster().running())!
    const leads = (await victim.status().catch(() => undefined))?.role === 'leader'
    await victim.kill()
    console.log(`  kill ${kill} of ${kills}: ${victim.name}${leads ? ', the leader' : ''}`)
    await wait(random.next() * (KILL_EVERY_MS / 2))
    const startMs = performance.now()
    await patiently()
    took('back and agreed', performance.now() - startMs)
    await wait(Math.max(0, nextMs - performance.now()))
  }
}

test('with a random peer killed every five seconds each answer is the same to the bit as in one process', async () => {
  const failures = await report.run(
    'a peer every 5 s',
    1,
    async ({ random, took }) => {
      const killing = { isOver: false }
      const over = killOneAfterTheOther(KILLS, random, took).finally(() => (killing.isOver = true))
      over.catch(() => {})
      const mesh = await cluster().connect()
      try {
        for (let salt = 1; !killing.isOver; salt++) {
          const expected = await answer(createLocal(), salt, 0)
          const startMs = performance.now()
          const got = await answer(mesh, salt, 400)
          took('job', performance.now() - startMs)
          console.log(`  job ${salt}: ${(performance.now() - startMs).toFixed(0)} ms`)
          expect(Buffer.compare(got, expected), `answer ${salt}`).toBe(0)
        }
        await over
      } finally {
        await over.catch(() => {})
        await mesh.close()
      }
    },
    heal,
  )
  expect(failures).toEqual([])
})

/** Every worker of the mesh has something to do, and does it. */
async function allWork(mesh: Mesh): Promise<void> {
  const signal = AbortSignal.timeout(JOB_TIMEOUT_MS)
  expect(await mesh.range(0, 500, 1, 20).sum({ signal })).toBe((500 * 499) / 2)
}

async function pids(): Promise<number[]> {
  return await Promise.all(cluster().peers.map(async peer => (await peer.status()).pid))
}

test('a requester that is killed has its endless job cancelled within its lease, and its workers freed', async () => {
  const failures = await report.run(
    'kill the requester',
    Math.ceil(ROUNDS / 5),
    async ({ round, took }) => {
      const jobName = `orphan ${round} ${Date.now()}`
      const settings: RequesterSettings = {
        addresses: cluster()
          .running()
          .flatMap(({ addresses }) => [...addresses]),
        meshKeyHex: Buffer.from(cluster().key).toString('hex'),
        jobName,
        tasks: 10,
      }
      const requester = spawn(process.execPath, ['--no-warnings', REQUESTER, JSON.stringify(settings)], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      })
      try {
        await once(requester, 'message', { signal: AbortSignal.timeout(JOB_TIMEOUT_MS) })
      } finally {
        requester.kill('SIGKILL')
      }
      const startMs = performance.now()
      const mesh = await cluster().connect()
      try {
        await waitFor(
          'the job to be cancelled',
          async () =>
            (await mesh.jobs()).some(({ name, status }) => name === jobName && status === 'cancelled'),
          LEASE_TIMEOUT_MS,
        )
        took('cancelled', performance.now() - startMs)
        await allWork(mesh)
        took('workers are free', performance.now() - startMs)
      } finally {
        await mesh.close()
      }
    },
    heal,
  )
  expect(failures).toEqual([])
})

test('a task that kills its worker, or eats its heap, ends its job as poison and no peer; all go on', async () => {
  const failures = await report.run(
    'poison',
    Math.ceil(ROUNDS / 5),
    async ({ took }) => {
      const before = await pids()
      const mesh = await cluster().connect()
      try {
        const numbers = mesh.range(0, 12, 1, 6)
        const signal = AbortSignal.timeout(JOB_TIMEOUT_MS)
        const startMs = performance.now()
        const exits = numbers.map(number => (number === 7 ? process.exit(3) : number)).count({ signal })
        await expect(exits).rejects.toMatchObject({ code: 'TASK_POISON' })
        took('exits', performance.now() - startMs)
        const eats = numbers
          .map(number => {
            const eaten: number[][] = []
            for (;;) {
              if (number !== 7) return number
              eaten.push(new Array<number>(100_000).fill(eaten.length))
            }
          })
          .count({ signal })
        await expect(eats).rejects.toMatchObject({ code: 'TASK_POISON' })
        took('both', performance.now() - startMs)
        await allWork(mesh)
      } finally {
        await mesh.close()
      }
      expect(await pids()).toEqual(before)
    },
    heal,
  )
  expect(failures).toEqual([])
})

test('a peer on which everything takes far longer holds up no job: others do its tasks as well, each counts once', async () => {
  const [taskMs, stragglerMs] = [500, 40_000]
  const failures = await report.run(
    'straggler',
    Math.ceil(ROUNDS / 5),
    async ({ random, took }) => {
      const slow = pick(random, cluster().running())!
      const slowPid = slow.pid
      const mesh = await cluster().connect(
        ...cluster()
          .running()
          .filter(peer => peer !== slow),
      )
      try {
        const startMs = performance.now()
        const pairs = await mesh
          .range(0, 20, 1, 20)
          .map(number => {
            doze(process.pid === slowPid ? stragglerMs : taskMs)
            return [number % 5, number / 7] as [number, number]
          })
          .reduceByKey((left, right) => left + right, 4)
          .collect({ signal: AbortSignal.timeout(JOB_TIMEOUT_MS) })
        took('job', performance.now() - startMs)
        expect(performance.now() - startMs).toBeLessThan(stragglerMs)
        const expected = Array.from({ length: 5 }, (_, key) => [
          key,
          [0, 5, 10, 15].map(step => (key + step) / 7).reduce((left, right) => left + right),
        ])
        expect(pairs.toSorted(([left], [right]) => left - right)).toEqual(expected)
      } finally {
        await mesh.close()
      }
    },
    heal,
  )
  expect(failures).toEqual([])
})
