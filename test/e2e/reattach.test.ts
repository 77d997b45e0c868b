import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { doze } from '../support/doze.ts'
import { byPartition, noteAttempt, readAttempts } from '../support/run-record.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

/** Five voters: the attached peer and one more may be gone. */
const cluster = useCluster(5)

const PARTITIONS = 24

let records = 0
function recordFile(): string {
  return join(cluster().directory, `reattached-${++records}`)
}

afterEach(async () => {
  await cluster().heal()
})

test('the peer that a client is attached to is killed in a job: the job goes on, and no task that lives runs again', async () => {
  const [attached] = await cluster().followers()
  const mesh = await cluster().connect(attached)
  const moved: string[] = []
  mesh.onJobEvent(event => void moved.push(event.type))
  const record = recordFile()
  const { pid } = attached!
  const job = mesh
    .range(0, PARTITIONS * 10, 1, PARTITIONS)
    .mapPartitionsWithIndex((partition, numbers) => {
      noteAttempt(record, 'only', partition)
      doze(300)
      return numbers
    })
    .collect()
  await waitFor('some tasks to have run', () => readAttempts(record).length >= 10)
  const startMs = performance.now()
  await attached!.kill()
  expect(await job).toEqual(Array.from({ length: PARTITIONS * 10 }, (_, i) => i))
  expect(moved).toContain('reattached')
  expect(performance.now() - startMs).toBeLessThan(12_000)
  for (const [partition, attempts] of byPartition(readAttempts(record), 'only')) {
    const alive = attempts.filter(attempt => attempt.pid !== pid)
    // None, when its result had come by way of that very peer before it died.
    expect(alive.length, `partition ${partition}`).toBeLessThanOrEqual(1)
  }
  // And so do the next job and the files.
  expect(await mesh.range(0, 10).count()).toBe(10)
  await mesh.fs.mkdir('/after')
})

test('it is killed while the client reads a stream of large results: no gap, no repeat', async () => {
  const [attached] = await cluster().followers()
  const mesh = await cluster().connect(attached)
  const perPartition = 30_000
  const stream = mesh
    .range(0, PARTITIONS * perPartition, 1, PARTITIONS)
    .map(number => number)
    .toLocalIterator()
  let seen = 0
  for await (const number of stream) {
    expect(number).toBe(seen)
    seen += 1
    if (seen === 5 * perPartition) await attached!.kill()
  }
  expect(seen).toBe(PARTITIONS * perPartition)
})

test('the leader is the peer that one is attached to, and is killed: the job goes on under the next one', async () => {
  const leader = await cluster().leader()
  const mesh = await cluster().connect(leader)
  const record = recordFile()
  const job = mesh
    .range(0, PARTITIONS * 10, 1, PARTITIONS)
    .mapPartitionsWithIndex((partition, numbers) => {
      noteAttempt(record, 'only', partition)
      doze(300)
      return [...numbers].map((number): [number, number] => [number % 3, number])
    })
    .reduceByKey((left, right) => left + right, 3)
    .collect()
  await waitFor('some tasks to have run', () => readAttempts(record).length >= 6)
  await leader.kill()
  const sums = new Map<number, number>()
  for (let i = 0; i < PARTITIONS * 10; i++) sums.set(i % 3, (sums.get(i % 3) ?? 0) + i)
  expect(new Map(await job)).toEqual(sums)
})

test('it stands still instead: the client leaves it, and the job goes on', async () => {
  const [attached] = await cluster().followers()
  const mesh = await cluster().connect(attached)
  const record = recordFile()
  const job = mesh
    .range(0, PARTITIONS * 10, 1, PARTITIONS)
    .mapPartitionsWithIndex((partition, numbers) => {
      noteAttempt(record, 'only', partition)
      doze(300)
      return numbers
    })
    .count()
  await waitFor('some tasks to have run', () => readAttempts(record).length >= 6)
  attached!.pause()
  try {
    expect(await job).toBe(PARTITIONS * 10)
  } finally {
    attached!.resume()
  }
})
