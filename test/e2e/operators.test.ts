import { expect, test } from 'vitest'
import { createLocal } from '../../src/rdd/index.ts'
import { useCluster } from '../support/use-cluster.ts'

/** Operators that do something of their own in plans and workers, on three peers. What each gives is settled by unit tests. */

const cluster = useCluster(3)

test('samples are the same on a mesh as in one process, whoever draws them', async () => {
  const [mesh] = await cluster().clients(1)
  const local = createLocal()
  const results = await Promise.all(
    [mesh!, local].map(async context => {
      const rdd = context.range(0, 2_000, 1, 7)
      const pairs = rdd.map(n => [n % 3 === 0 ? 'a' : 'b', n])
      const [left, right] = rdd.randomSplit([1, 2], 9)
      return {
        sample: await rdd.sample(false, 0.1, 3).collect(),
        repeated: await rdd.sample(true, 1.5, 3).collect(),
        left: await left!.collect(),
        right: await right!.count(),
        taken: await rdd.takeSample(false, 20, 5),
        exact: await pairs.sampleByKeyExact(false, { a: 0.05, b: 0.01 }, 4).collect(),
      }
    }),
  )
  expect(results[0]!.sample.length).toBeGreaterThan(100)
  expect(results[0]).toEqual(results[1])
})

test('operators that ask their parents first run their jobs on the mesh', async () => {
  const [mesh] = await cluster().clients(1)
  const words = mesh!.parallelize(['d', 'a', 'c', 'b', 'e', 'f', 'g'], 3)
  const upper = mesh!.parallelize(['D', 'A', 'C', 'B', 'E', 'F', 'G'], 5)
  expect(
    await words
      .zipWithIndex()
      .map(([word, i]) => `${word}${i}`)
      .collect(),
  ).toEqual(['d0', 'a1', 'c2', 'b3', 'e4', 'f5', 'g6'])
  expect(await words.zipByIndex(upper).all(([low, high]) => low.toUpperCase() === high)).toBe(true)
  await expect(words.zipByIndex(upper.filter(word => word !== 'F')).count()).rejects.toMatchObject({
    code: 'ZIP_LENGTHS',
  })
  const sorted = mesh!
    .range(0, 1_000, 1, 4)
    .map(n => [n, n])
    .sortByKey(true, 8)
  const within = sorted.filterByRange(100, 110)
  expect(await within.keys().collect()).toEqual([100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110])
  expect(await within.getNumPartitions()).toBeLessThan(8)
})

test('datasets without partitions come to nothing, also through shuffles', async () => {
  const [mesh] = await cluster().clients(1)
  const none = mesh!
    .range(0, 100, 1, 4)
    .map(n => [n, n])
    .sortByKey(true, 4)
    .filterByRange(60, 50)
  expect(await none.collect()).toEqual([])
  expect(await none.getNumPartitions()).toBe(0)
  expect(await none.reduceByKey((a, b) => a + b).collect()).toEqual([])
  expect(await mesh!.emptyRDD<number>().distinct().count()).toBe(0)
  expect(await none.keys().union(mesh!.range(3)).distinct().count()).toBe(3)
})

test('sets, groups, trees and sketches shuffle between peers', async () => {
  const [mesh] = await cluster().clients(1)
  const [evens, threes] = [mesh!.range(0, 60, 2, 4), mesh!.range(0, 60, 3, 3)]
  expect((await evens.intersection(threes).collect()).sort((a, b) => a - b)).toEqual([
    0, 6, 12, 18, 24, 30, 36, 42, 48, 54,
  ])
  expect(await evens.subtract(threes).count()).toBe(20)
  const grouped = evens
    .keyBy(n => n % 4)
    .groupWith(
      threes.keyBy(n => n % 4),
      threes.keyBy(n => n % 2),
    )
  expect((await grouped.mapValues(lists => lists.map(list => list.length)).collectAsMap()).get(1)).toEqual([
    0, 5, 10,
  ])
  expect(
    await mesh!
      .range(0, 640, 1, 32)
      .map(n => `${n},`)
      .treeReduce((a, b) => a + b),
  ).toBe(Array.from({ length: 640 }, (_, n) => `${n},`).join(''))
  const distinct = await mesh!
    .range(0, 30_000, 1, 6)
    .map(n => n % 10_000)
    .countApproxDistinct(0.02)
  expect(Math.abs(distinct - 10_000)).toBeLessThan(900)
})

test('functions that wait and commands run in the workers, and are let go when they are cancelled', async () => {
  const [mesh] = await cluster().clients(1)
  const waited = mesh!.range(0, 200, 1, 6).mapAsync(async n => {
    await new Promise(resolve => setTimeout(resolve, n % 3))
    return n * 2
  })
  expect(await waited.sum()).toBe(2 * ((200 * 199) / 2))
  expect(await mesh!.parallelize(['b', 'c', 'a'], 1).pipe('sort -r').collect()).toEqual(['c', 'b', 'a'])
  await expect(mesh!.range(2).pipe(['sh', '-c', 'echo oh no >&2; exit 4']).count()).rejects.toThrow(
    /exited with 4:\noh no/,
  )
  const hanging = mesh!.range(0, 12, 1, 12).forEachAsync(() => new Promise(() => {}))
  const sleeping = mesh!.range(0, 12, 1, 12).pipe('sleep 600').collectAsync()
  const ended = Promise.allSettled([hanging, sleeping])
  // More tasks than workers: nothing else could run if one of them stayed.
  await expect(mesh!.range(0, 30, 1, 3).countApprox(1)).resolves.toMatchObject({ confidence: 0.95 })
  hanging.cancel()
  sleeping.cancel()
  expect((await ended).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(await mesh!.range(0, 30, 1, 12).count()).toBe(30)
})
