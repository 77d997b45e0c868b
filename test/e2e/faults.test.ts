import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Mesh } from '../../src/node/index.ts'
import type { Pair } from '../../src/rdd/index.ts'
import { doze } from '../support/doze.ts'
import { bytesOf, gatherBytes } from '../support/file-bytes.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { byPartition, noteAttempt, readAttempts } from '../support/run-record.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

/** Four peers: one to be attached to, one to kill, and enough voters left. */
const cluster = useCluster(4)

const PARTITIONS = 24
const KEYS = 7

let records = 0
function recordFile(): string {
  return join(cluster().directory, `attempts-${++records}`)
}

/** Sums by key in two stages that take about `PARTITIONS` × 150 ms ÷ workers each; every attempt notes itself. */
function sumsByKey(mesh: Mesh, record: string): Promise<Pair<number, number>[]> {
  return mesh
    .range(0, PARTITIONS * 100, 1, PARTITIONS)
    .mapPartitionsWithIndex((partition, numbers) => {
      noteAttempt(record, 'map', partition)
      doze(150)
      return [...numbers].map((number): [number, number] => [number % KEYS, number])
    })
    .reduceByKey((left, right) => left + right, KEYS)
    .mapPartitionsWithIndex((partition, pairs) => {
      noteAttempt(record, 'reduce', partition)
      doze(150)
      return [...pairs]
    })
    .collect()
}

function expectSums(sums: Pair<number, number>[]): void {
  const expected = new Map<number, number>()
  for (let number = 0; number < PARTITIONS * 100; number++) {
    expected.set(number % KEYS, (expected.get(number % KEYS) ?? 0) + number)
  }
  expect(new Map(sums)).toEqual(expected)
  expect(sums).toHaveLength(KEYS)
}

/** A client on a follower, and a follower that is not it. */
async function attachedAndVictim(): Promise<{ mesh: Mesh; victim: PeerProcess }> {
  const [attached, victim] = await cluster().followers()
  return { mesh: await cluster().connect(attached), victim: victim! }
}

/** Whoever was killed comes back before the next test, also after a failure. */
afterEach(async () => {
  await cluster().heal()
})

test('an executor killed in a map stage: the answer is right, and only what it had done or held ran again', async () => {
  const { mesh, victim } = await attachedAndVictim()
  const record = recordFile()
  const { pid } = victim
  const job = sumsByKey(mesh, record)
  await waitFor('the victim to have finished a task', () => {
    const attempts = readAttempts(record)
    return attempts.filter(attempt => attempt.pid === pid).length >= 2 && attempts.length >= 10
  })
  await victim.kill()
  expectSums(await job)
  for (const [partition, attempts] of byPartition(readAttempts(record), 'map')) {
    const elsewhere = attempts.filter(attempt => attempt.pid !== pid)
    // Whoever lives computed it once; twice only when the first was on the dead peer.
    expect(elsewhere.length, `partition ${partition}`).toBe(1)
  }
})

test('an executor killed in a reduce stage: only its map outputs are computed again', async () => {
  const { mesh, victim } = await attachedAndVictim()
  const record = recordFile()
  const { pid } = victim
  const job = sumsByKey(mesh, record)
  await waitFor('the second stage to run', () => readAttempts(record).some(({ stage }) => stage === 'reduce'))
  await victim.kill()
  expectSums(await job)
  for (const [partition, attempts] of byPartition(readAttempts(record), 'map')) {
    const alive = attempts.filter(attempt => attempt.pid !== pid)
    expect(alive.length, `partition ${partition}`).toBe(1)
  }
})

test('the leader killed in the middle of a job: another serves, the answer is right, what was done stays done', async () => {
  const leader = await cluster().leader()
  const { mesh } = await attachedAndVictim()
  const record = recordFile()
  const { pid } = leader
  const job = sumsByKey(mesh, record)
  await waitFor('some tasks to have begun', () => readAttempts(record).length >= 10)
  await leader.kill()
  expectSums(await job)
  const next = await cluster().leader()
  expect(next.id).not.toBe(leader.id)
  for (const [partition, attempts] of byPartition(readAttempts(record), 'map')) {
    const alive = attempts.filter(attempt => attempt.pid !== pid)
    expect(alive.length, `partition ${partition}`).toBe(1)
  }
})

test('the leader killed while a client iterates: the stream goes on without a gap, a repeat or an error', async () => {
  const leader = await cluster().leader()
  const { mesh } = await attachedAndVictim()
  const stream = mesh
    .range(0, PARTITIONS * 10, 1, PARTITIONS)
    .mapPartitions(numbers => {
      doze(150)
      return numbers
    })
    .toLocalIterator()
  const seen: number[] = []
  let killed: Promise<void> | undefined
  for await (const number of stream) {
    seen.push(number)
    if (seen.length === 45) killed = leader.kill()
  }
  await killed
  expect(seen).toEqual(Array.from({ length: PARTITIONS * 10 }, (_, number) => number))
})

test('the leader killed while results are large: every sealed byte arrives once', async () => {
  const leader = await cluster().leader()
  const { mesh } = await attachedAndVictim()
  const rows = mesh.range(0, 16 * 40, 1, 16).mapPartitionsWithIndex((partition, numbers) => {
    doze(100)
    return [...numbers].map(number => `${partition}:${number}:`.padEnd(10_000, '.'))
  })
  const lengths = new Map<string, number>()
  let killed: Promise<void> | undefined
  for await (const row of rows) {
    const key = row.slice(0, row.lastIndexOf(':'))
    lengths.set(key, (lengths.get(key) ?? 0) + row.length)
    if (lengths.size === 100) killed = leader.kill()
  }
  await killed
  expect(lengths.size).toBe(640)
  expect([...lengths.values()].every(length => length === 10_000)).toBe(true)
})

test('saveAsTextFile while a peer is killed: the directory appears once, whole, each line in it once', async () => {
  const { mesh, victim } = await attachedAndVictim()
  const record = recordFile()
  const saving = mesh
    .range(0, PARTITIONS * 10, 1, PARTITIONS)
    .mapPartitionsWithIndex((partition, numbers) => {
      noteAttempt(record, 'save', partition)
      doze(150)
      return [...numbers].map(number => `n${number}`)
    })
    .saveAsTextFile('/saved-under-fire')
  await waitFor('some parts to be written', () => readAttempts(record).length >= 8)
  await victim.kill()
  await saving
  const parts = await mesh.fs.ls('/saved-under-fire')
  expect(parts.filter(entry => entry.name.startsWith('part-'))).toHaveLength(PARTITIONS)
  expect(await mesh.textFile('/saved-under-fire').collect()).toEqual(
    Array.from({ length: PARTITIONS * 10 }, (_, number) => `n${number}`),
  )
})

test('a peer without room on its disk refuses copies and the others take them', async () => {
  const { mesh } = await attachedAndVictim()
  const full = await cluster().add({ diskReserveBytes: Number.MAX_SAFE_INTEGER })
  await cluster().ready()
  const bytes = Buffer.alloc(600_000, 'full\n')
  await mesh.fs.put('/room.txt', bytesOf(bytes), { partitionBytes: 50_000 })
  expect((await gatherBytes(mesh.fs.get('/room.txt'))).equals(bytes)).toBe(true)
  const { partitions } = await mesh.fs.locate('/room.txt')
  for (const place of partitions) {
    expect(place.holders).not.toContain(full.id)
    expect(place.holders.length).toBeGreaterThanOrEqual(2)
  }
})
