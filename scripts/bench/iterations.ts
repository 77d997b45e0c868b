import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import type { RDD } from '../../src/index.ts'
import { BenchMesh } from './bench-mesh.ts'
import { BenchRows } from './bench-rows.ts'
import { median, ms, timeMs, type Figures } from './figures.ts'
import { plainScript } from './plain-script.ts'

const PEERS = 2
const ROUNDS = 3
const POINTS = 1_000_000
/** The file has three blocks, of which one of the two workers would get two. */
const PARTITIONS = 8
const DIMENSIONS = 10
const ITERATIONS = 10
const RATE = 0.1
const CLUSTERS = 8
/** Sums in another order differ in their last digits, and iterations add that up. */
const TOLERANCE = 1e-6

interface Point {
  label: number
  x: number[]
}

/** What ten iterations gave, and how long each took. */
interface Iterated {
  answer: number[]
  iterationsMs: number[]
}

/** Logistic regression and k-means over a cached set: what an iteration costs once the set is in memory. */
export async function iterations(figures: Figures): Promise<void> {
  using rows = await BenchRows.write(POINTS, pointLine)
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  await mesh.fs.put('/points.csv', createReadStream(rows.path))
  const points = mesh
    .textFile('/points.csv', PARTITIONS)
    .map((line): Point => {
      const [label, ...x] = line.split(',').map(Number)
      return { label: label!, x }
    })
    .cache()
  await compare(figures, 'logistic regression', () => logistic(points), [
    'plain-logistic.ts',
    rows.path,
    String(ITERATIONS),
  ])
  await compare(figures, 'k-means', () => kMeans(points), [
    'plain-k-means.ts',
    rows.path,
    String(ITERATIONS),
    String(CLUSTERS),
  ])
  points.unpersist()
}

async function compare(
  figures: Figures,
  name: string,
  work: () => Promise<Iterated>,
  [script, ...args]: [string, ...string[]],
): Promise<void> {
  const ours: number[] = []
  const plain: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const { answer, iterationsMs } = await work()
    const expected = await plainScript(script, ...args)
    assertClose(answer, (expected.answer as unknown[]).flat() as number[])
    // The first reads and caches.
    ours.push(median(iterationsMs.slice(1)))
    plain.push(median(expected.iterationsMs!.slice(1)))
  }
  figures.add({
    name: `${name}, an iteration over 1e6 cached points, 2 peers`,
    value: ms(median(ours)),
    against: `script ${ms(median(plain))}`,
    score: median(ours) / median(plain),
    target: { atMost: 0.6 },
  })
}

async function logistic(points: RDD<Point>): Promise<Iterated> {
  let weights = Array.from({ length: DIMENSIONS }, () => 0)
  const iterationsMs: number[] = []
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    iterationsMs.push(
      await timeMs(async () => {
        const current = weights
        const gradient = await points.aggregate(
          Array.from({ length: DIMENSIONS }, () => 0),
          (sum, { label, x }) => {
            let dot = 0
            for (let i = 0; i < x.length; i++) dot += current[i]! * x[i]!
            const scale = (1 / (1 + Math.exp(-label * dot)) - 1) * label
            for (let i = 0; i < x.length; i++) sum[i]! += scale * x[i]!
            return sum
          },
          (left, right) => left.map((value, i) => value + right[i]!),
        )
        weights = weights.map((weight, i) => weight - (RATE * gradient[i]!) / POINTS)
      }),
    )
  }
  return { answer: weights, iterationsMs }
}

async function kMeans(points: RDD<Point>): Promise<Iterated> {
  let centers = (await points.take(CLUSTERS)).map(({ x }) => x)
  const iterationsMs: number[] = []
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    iterationsMs.push(
      await timeMs(async () => {
        const current = centers
        const sums = await points.aggregate(
          current.map(center => ({ count: 0, sum: center.map(() => 0) })),
          (found, { x }) => {
            let best = 0
            let bestDistance = Infinity
            for (let c = 0; c < current.length; c++) {
              const center = current[c]!
              let distance = 0
              for (let i = 0; i < x.length; i++) distance += (x[i]! - center[i]!) ** 2
              if (distance < bestDistance) {
                bestDistance = distance
                best = c
              }
            }
            const into = found[best]!
            into.count++
            for (let i = 0; i < x.length; i++) into.sum[i]! += x[i]!
            return found
          },
          (left, right) =>
            left.map(({ count, sum }, c) => ({
              count: count + right[c]!.count,
              sum: sum.map((value, i) => value + right[c]!.sum[i]!),
            })),
        )
        centers = sums.map(({ count, sum }, c) =>
          count === 0 ? centers[c]! : sum.map(total => total / count),
        )
      }),
    )
  }
  return { answer: centers.flat(), iterationsMs }
}

/** Two clouds, one of each label, so that there is something to find. */
function pointLine(_i: number, random: () => number): string {
  const label = random() < 0.5 ? -1 : 1
  const x = Array.from({ length: DIMENSIONS }, () => (random() * 2 - 1 + label * 0.3).toFixed(4))
  return `${label},${x.join(',')}`
}

function assertClose(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length)
  for (const [i, value] of actual.entries()) {
    const other = expected[i]!
    assert.ok(Math.abs(value - other) <= TOLERANCE * Math.max(1, Math.abs(other)), `${value} is not ${other}`)
  }
}
