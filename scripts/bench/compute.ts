import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { BenchMesh } from './bench-mesh.ts'
import { BenchText } from './bench-text.ts'
import { interleaved, ms, timeMs, type Figures } from './figures.ts'
import { plainScript } from './plain-script.ts'

const PEERS = 2
const ROUNDS = 5
const NUMBERS = 1e8
/** Sums in another order differ in their last digits. */
const SUM_TOLERANCE = 1e-9

/** Two peers with one worker each against a hand-written script that runs alone as a process. */
export async function wordCount(figures: Figures): Promise<void> {
  using text = await BenchText.write()
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  await mesh.fs.put('/text.txt', createReadStream(text.path))
  let expected: unknown
  let counted: unknown
  const { ours, plain } = await interleaved(ROUNDS, {
    // The captured number makes each round another lineage: the outputs of the one before are no use to it.
    ours: round =>
      timeMs(async () => {
        counted = await mesh
          .textFile('/text.txt')
          .flatMap(line => (round < 0 ? [] : (line.toLowerCase().match(/[a-z']+/g) ?? [])))
          .map(word => [word, 1] as const)
          .reduceByKey((a, b) => a + b)
          .takeOrdered(10, ([, count]) => -count)
      }),
    plain: async () => {
      const { tookMs, answer } = await plainScript('plain-word-count.ts', text.path)
      expected = answer
      return tookMs
    },
  })
  assert.deepEqual(counted, expected)
  figures.add({
    name: 'word count of 200 MB, 2 peers',
    value: ms(ours),
    against: `script ${ms(plain)}`,
    score: ours / plain,
    target: { atMost: 0.5 },
  })
}

export async function numericChain(figures: Figures): Promise<void> {
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  let expected = Number.NaN
  let sum = 0
  const { ours, plain } = await interleaved(ROUNDS, {
    ours: () =>
      timeMs(async () => {
        sum = await mesh
          .range(NUMBERS)
          .map(x => x * x)
          .filter(x => x % 2 === 1)
          .sum()
      }),
    plain: async () => {
      const { tookMs, answer } = await plainScript('plain-numeric.ts', String(NUMBERS))
      expected = answer as number
      return tookMs
    },
  })
  assert.ok(Math.abs(sum / expected - 1) < SUM_TOLERANCE, `${sum} is not ${expected}`)
  figures.add({
    name: 'sum of odd squares to 1e8, 2 peers',
    value: ms(ours),
    against: `loop ${ms(plain)}`,
    score: ours / plain,
    target: { atMost: 0.6 },
  })
}
