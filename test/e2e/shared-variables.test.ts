import { mkdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { TaskOutput } from '../../src/rdd/index.ts'
import { useCluster } from '../support/use-cluster.ts'

const cluster = useCluster(3)

class Tariff {
  readonly rate: number
  constructor(rate: number) {
    this.rate = rate
  }
  of(amount: number): number {
    return amount * this.rate
  }
}

test('a broadcast reaches the tasks of every peer, with its maps, typed arrays and classes, and ends by unpersist and destroy', async () => {
  const [mesh] = await cluster().clients(1)
  const bytes = new Float64Array(1_500_000).map((_, i) => i)
  const shared = mesh!.broadcast({ names: new Map([[1, 'one']]), bytes, tariff: new Tariff(3) })
  const used = mesh!.range(0, 12, 1, 12).map(n => {
    const { names, bytes: numbers, tariff } = shared.value
    return [names.get(1), numbers[n * 100_000], tariff.of(n)] as const
  })
  const wanted = Array.from({ length: 12 }, (_, n) => ['one', n * 100_000, n * 3])
  expect(await used.collect()).toEqual(wanted)
  shared.unpersist()
  expect(await used.collect()).toEqual(wanted)
  expect(shared.value.tariff.of(2)).toBe(6)
  shared.destroy()
  expect(() => shared.value).toThrow(expect.objectContaining({ code: 'BROADCAST_DESTROYED' }))
  await expect(used.collect()).rejects.toMatchObject({ code: 'BROADCAST_DESTROYED' })
})

test('accumulators count each task once, in results, in shuffles and where tasks are tried again, and are read by the requester only', async () => {
  const [mesh] = await cluster().clients(1)
  const rows = mesh!.accumulator(0)
  const large = mesh!.accumulator(0n)
  const seen = mesh!.accumulator<number>([])
  const evens = mesh!.accumulator({
    zero: new Set<number>(),
    add: (set: Set<number>, n: number) => set.add(n),
    merge: (set: Set<number>, other: Set<number>) => new Set([...set, ...other]),
  })
  const counted = mesh!.range(0, 100, 1, 8).map(n => {
    rows.add(1)
    large.add(BigInt(n))
    if (n % 10 === 0) seen.add(n)
    if (n % 2 === 0) evens.add(n)
    return n
  })
  await counted.collect()
  expect(rows.value).toBe(100)
  expect(large.value).toBe(4950n)
  expect(seen.value).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90])
  expect(evens.value.size).toBe(50)
  const byTen = counted.map(n => [n % 10, 1] as const).reduceByKey((a, b) => a + b)
  expect(await byTen.collectAsMap()).toHaveProperty('size', 10)
  expect(rows.value).toBe(200)
  // The map outputs are there already: nothing is counted again.
  await byTen.count()
  expect(rows.value).toBe(200)
  const marks = `${cluster().directory}/marks`
  mkdirSync(marks)
  const tried = mesh!.accumulator(0)
  const again = mesh!.range(0, 40, 1, 4).mapPartitionsWithIndex(function* (partition, numbers) {
    for (const n of numbers) {
      tried.add(1)
      yield n
    }
    // Only the first attempt of each partition can make it.
    const isFirst = mkdirSync(`${marks}/${partition}`, { recursive: true }) !== undefined
    if (isFirst) throw new Error('the first try of each partition fails, with all that it added')
  })
  expect(await again.collect()).toHaveLength(40)
  expect(tried.value).toBe(40)
  await expect(
    mesh!
      .range(1)
      .map(() => tried.value)
      .collect(),
  ).rejects.toMatchObject({
    code: 'ACCUMULATOR_READ',
  })
})

test('what tasks print arrives before the action resolves, labelled, and what is left out is counted to the line', async () => {
  const outputs: TaskOutput[] = []
  const mesh = await cluster().connectWith({ onTaskOutput: output => outputs.push(output) })
  await mesh.parallelize(['a', 'b', 'c', 'd'], 4).forEach(console.log)
  const texts = outputs.map(output => (output.type === 'line' ? output.text : ''))
  expect(texts.toSorted()).toEqual(['a', 'b', 'c', 'd'])
  for (const output of outputs) {
    expect(output).toMatchObject({ type: 'line', level: 'log', stage: 0, attempt: 0, name: 'forEach' })
  }
  const partitions = outputs.map(output => (output.type === 'line' ? output.partition : -1))
  expect(new Set(partitions)).toEqual(new Set([0, 1, 2, 3]))
  outputs.length = 0
  await mesh
    .range(0, 30_000, 1, 3)
    .map(n => {
      console.error('number', n)
      process.stdout.write(`half of ${n}\nother half\n`)
      return n
    })
    .count()
  const counts = outputs.map(output => (output.type === 'line' ? 1 : output.lines))
  expect(counts.reduce((sum, lines) => sum + lines, 0)).toBe(90_000)
  const shown = outputs.filter(output => output.type === 'line')
  expect(shown.length).toBeGreaterThan(100)
  expect(shown.length).toBeLessThan(30_000)
  // In order within each partition.
  for (const partition of [0, 1, 2]) {
    const numbers = shown
      .filter(line => line.partition === partition && line.level === 'error')
      .map(({ text }) => Number(text.slice(7)))
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
  }
  outputs.length = 0
  const failing = mesh.range(0, 1, 1, 1).map(() => {
    console.warn('before it fails')
    throw new Error('always')
  })
  await expect(failing.collect()).rejects.toMatchObject({ code: 'TASK_FAILED' })
  const attempts = outputs.map(output => (output.type === 'line' ? output.attempt : -1))
  // The same error on a second peer is the function's.
  expect(attempts).toEqual([0, 1])
})
