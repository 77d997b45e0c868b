import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Mesh } from '../../src/node/index.ts'
import { doze } from '../support/doze.ts'
import { byPartition, noteAttempt, readAttempts } from '../support/run-record.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const cluster = useCluster(4)

const PARTITIONS = 24
const ROWS = PARTITIONS * 10
const KEYS = 6

test('a slow task that is tried a second time elsewhere counts once', async () => {
  const mesh = await cluster().connect()
  const record = join(cluster().directory, 'speculation')
  const counted = mesh.accumulator(0)
  const rows = mesh.range(0, 80, 1, 8).map(n => {
    counted.add(1)
    if (n !== 5) return n
    noteAttempt(record, 'slow', 0)
    // The first attempt waits until there is a second one, and then loses.
    for (let waits = 0; readAttempts(record).length === 1 && waits < 600; waits++) doze(100)
    if (readAttempts(record)[0]?.pid === process.pid) doze(5_000)
    return n
  })
  expect(await rows.count()).toBe(80)
  expect(readAttempts(record).length).toBeGreaterThan(1)
  expect(counted.value).toBe(80)
})

test('accumulators are exact and broadcasts readable though an executor is killed, and the leader that one is attached to', async () => {
  // One without a vote: the leader's death must leave a majority.
  const { voters } = await (await cluster().leader()).status()
  const followers = await cluster().followers()
  const victim = followers.find(({ id }) => !voters.includes(id))
  const attached = followers.find(peer => peer !== victim)
  const run = (mesh: Mesh, record: string) => {
    const factors = mesh.broadcast(new Map([[0, 2]]))
    const mapped = mesh.accumulator(0)
    const reduced = mesh.accumulator(0n)
    const order = mesh.accumulator<number>([])
    const result = mesh
      .range(0, ROWS, 1, PARTITIONS)
      .mapPartitionsWithIndex((partition, numbers) => {
        noteAttempt(record, 'map', partition)
        doze(100)
        return Array.from(numbers, n => {
          mapped.add(1)
          return [n % KEYS, n * factors.value.get(0)!] as const
        })
      })
      .reduceByKey((a, b) => a + b, KEYS)
      .mapPartitionsWithIndex((partition, pairs) => {
        noteAttempt(record, 'reduce', partition)
        doze(250)
        return Array.from(pairs, pair => {
          reduced.add(1n)
          order.add(partition)
          return pair
        })
      })
      .collect()
    return { mapped, reduced, order, result }
  }
  const check = async ({ mapped, reduced, order, result }: ReturnType<typeof run>): Promise<void> => {
    let total = 0
    for (const [, sum] of await result) total += sum
    expect(total).toBe(ROWS * (ROWS - 1))
    expect(mapped.value).toBe(ROWS)
    expect(reduced.value).toBe(BigInt(KEYS))
    expect(order.value).toEqual(order.value.toSorted((a, b) => a - b))
    expect(order.value).toHaveLength(KEYS)
  }

  const first = join(cluster().directory, 'executor-killed')
  const withoutExecutor = run(await cluster().connect(attached), first)
  const { pid } = victim!
  await waitFor('the victim to have done something', () => {
    const attempts = readAttempts(first)
    return attempts.filter(attempt => attempt.pid === pid).length >= 2 && attempts.length >= 10
  })
  await victim!.kill()
  await check(withoutExecutor)
  // Or nothing was tried again, and this has shown nothing.
  const tries = [...byPartition(readAttempts(first), 'map').values()].map(({ length }) => length)
  expect(Math.max(...tries)).toBeGreaterThan(1)

  const second = join(cluster().directory, 'leader-killed')
  const leader = await cluster().leader()
  const mesh = await cluster().connect(leader, ...cluster().running())
  const withoutLeader = run(mesh, second)
  await waitFor('the reduce stage', () => readAttempts(second).some(({ stage }) => stage === 'reduce'))
  await leader.kill()
  await check(withoutLeader)
  const names = mesh.broadcast(['zero', 'one'])
  const used = mesh.range(0, 16, 1, 16).map(n => names.value[n % 2]!)
  expect(new Set(await used.collect())).toEqual(new Set(['zero', 'one']))
})
