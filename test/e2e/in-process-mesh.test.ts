import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { below, pick, seededRandom, type Random } from '../../src/base/index.ts'
import { createPeer, type Peer } from '../../src/node/index.ts'
import { readMeshKey } from '../../src/node/net/index.ts'
import { createLocal, type DatasetContext, type RDD } from '../../src/rdd/index.ts'

/** Three whole peers in this process, with real worker threads and real connections between them. */
const peers: Peer[] = []
let directory = ''

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'shoal-in-process-'))
  const first = await createPeer({ dataDirectory: join(directory, 'p1'), name: 'p1', host: 'h1', workers: 1 })
  peers.push(first)
  await first.ready()
  const meshKey = await readMeshKey(join(directory, 'p1'))
  for (const name of ['p2', 'p3']) {
    const dataDirectory = join(directory, name)
    const known = first.addresses()
    peers.push(await createPeer({ dataDirectory, name, host: name, workers: 1, join: known, meshKey }))
  }
  await Promise.all(peers.map(peer => peer.ready({ peers: 3 })))
})

afterAll(async () => {
  await Promise.all(peers.toReversed().map(peer => peer.stop()))
  await rm(directory, { recursive: true, force: true })
})

type Operator = (numbers: RDD<number>, partitions: number, context: DatasetContext) => RDD<number>

/** Numbers to numbers, narrow and wide, so that any can follow any. */
const OPERATORS: Record<string, Operator> = {
  map: numbers => numbers.map(n => (n * 3 + 1) % 1_009),
  filter: numbers => numbers.filter(n => n % 3 !== 0),
  flatMap: numbers => numbers.flatMap(n => (n % 5 === 0 ? [n, n + 1] : [n])),
  mapPartitions: numbers =>
    numbers.mapPartitionsWithIndex((index, elements) => elements.map(n => (n + index) % 1_009)),
  distinct: (numbers, partitions) => numbers.distinct(partitions),
  repartition: (numbers, partitions) => numbers.repartition(partitions),
  sortBy: (numbers, partitions) => numbers.sortBy(n => -n, true, partitions),
  union: (numbers, partitions, context) => numbers.union(context.range(0, 20, 1, partitions)),
  reduceByKey: (numbers, partitions) =>
    numbers
      .map(n => [n % 17, n] as const)
      .reduceByKey((a, b) => a + b, partitions)
      .map(([key, sum]) => (key + sum) % 1_009),
  groupByKey: (numbers, partitions) =>
    numbers
      .keyBy(n => `k${n % 11}`)
      .groupByKey(partitions)
      .map(([key, group]) => (group.length * 7 + key.length + group[0]!) % 1_009),
  join: (numbers, partitions, context) =>
    numbers
      .distinct()
      .map(n => [n % 23, n] as const)
      .join(
        context.range(0, 10).map(n => [n, n * n] as const),
        partitions,
      )
      .map(([key, [left, right]]) => (key + left + right) % 1_009),
}

interface Program {
  names: string[]
  run(context: DatasetContext): RDD<number>
}

function randomProgram(random: Random): Program {
  const start = { count: below(random, 120), partitions: 1 + below(random, 5) }
  const steps = Array.from({ length: 1 + below(random, 6) }, () => ({
    name: pick(random, Object.keys(OPERATORS))!,
    partitions: 1 + below(random, 4),
  }))
  return {
    names: [`range ${start.count}/${start.partitions}`, ...steps.map(({ name }) => name)],
    run: context => {
      let numbers = context.range(0, start.count, 1, start.partitions)
      for (const { name, partitions } of steps) numbers = OPERATORS[name]!(numbers, partitions, context)
      return numbers
    },
  }
}

test('random programs give on three peers what they give on one, to the last element and its place', async () => {
  const local = createLocal()
  for (let seed = 1; seed <= 20; seed++) {
    const program = randomProgram(seededRandom(seed))
    const { mesh } = pick(seededRandom(seed + 1_000), peers)!
    const [there, here] = await Promise.all([program.run(mesh).collect(), program.run(local).collect()])
    expect(there, `seed ${seed}: ${program.names.join(' ')}`).toEqual(here)
  }
})

test('a second action on a cached dataset reads what the first one kept', async () => {
  const { mesh } = peers[0]!
  const random = mesh.range(0, 40, 1, 6).map(n => n + Math.random())
  const [once, again] = [await random.collect(), await random.collect()]
  expect(again, 'not cached: computed again').not.toEqual(once)
  const kept = random.map(n => n).cache()
  const first = await kept.collect()
  expect(await kept.collect()).toEqual(first)
  expect(await kept.map(n => -n).collect()).toEqual(first.map(n => -n))
  kept.unpersist()
})

test('a second action on the same lineage skips the map stage, whose outputs are there', async () => {
  const { mesh } = peers[1]!
  const sums = mesh
    .range(0, 100, 1, 5)
    .map(n => [n % 3, Math.random()] as const)
    .reduceByKey((a, b) => a + b, 2)
  // What the map side drew tells whether it ran again.
  const first = await sums.collect()
  expect(await sums.collect()).toEqual(first)
  const others = await mesh
    .range(0, 100, 1, 5)
    .map(n => [n % 3, Math.random()] as const)
    .reduceByKey((a, b) => a - b, 2)
    .collect()
  expect(others.map(([key]) => key)).toEqual(first.map(([key]) => key))
  expect(others).not.toEqual(first)
})

test('two requesters use one mesh at once, each with its own answers', async () => {
  const answers = await Promise.all(
    peers.map(({ mesh }, index) =>
      mesh
        .range(0, 300, 1, 6)
        .map(n => [n % 4, n * (index + 1)] as const)
        .reduceByKey((a, b) => a + b)
        .values()
        .sum(),
    ),
  )
  const sum = (299 * 300) / 2
  expect(answers).toEqual([sum, 2 * sum, 3 * sum])
})
