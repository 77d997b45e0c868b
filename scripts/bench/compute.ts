import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { promisify } from 'node:util'
import type { Mesh } from '../../src/node/index.ts'
import { BenchMesh } from './bench-mesh.ts'
import { BenchText } from './bench-text.ts'
import { interleaved, ms, timeMs, type Figures } from './figures.ts'
import { isInstalled } from './installed.ts'
import { plainScript } from './plain-script.ts'

const PEERS = 2
const ROUNDS = 5
/** A gigabyte takes a script half a minute. */
const TEXT_ROUNDS = 3
export const NUMBERS = 1e8
/** Sums in another order differ in their last digits. */
const SUM_TOLERANCE = 1e-9

/** Two peers with one worker each against a hand-written script that runs alone as a process. */
export async function wordCount(figures: Figures, options: { text: number }): Promise<void> {
  using text = await BenchText.write(options.text)
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  await mesh.fs.put('/text.txt', createReadStream(text.path))
  let expected: unknown
  let counted: unknown
  const { ours, plain, mawk } = await interleaved(TEXT_ROUNDS, {
    ours: round =>
      timeMs(async () => {
        counted = await topWords(mesh, round)
      }),
    plain: async () => {
      const { tookMs, answer } = await plainScript('plain-word-count.ts', text.path)
      expected = answer
      return tookMs
    },
    mawk: () => (isInstalled('mawk') ? timeMs(() => mawkWords(text.path)) : Promise.resolve(0)),
  })
  assert.deepEqual(counted, expected)
  const megabytes = Math.round(text.sizeBytes / 1e6)
  if (mawk > 0) {
    figures.add({
      name: `word count of ${megabytes} MB, 2 peers, against mawk`,
      value: ms(ours),
      against: `mawk ${ms(mawk)}`,
      score: ours / mawk,
    })
  }
  figures.add({
    name: `word count of ${megabytes} MB, 2 peers`,
    value: ms(ours),
    against: `script ${ms(plain)}`,
    score: ours / plain,
    target: { atMost: 0.5 },
  })
}

/** @param round Captured, so that each round is another lineage: the outputs of the one before are no use to it. */
export async function topWords(mesh: Mesh, round: number): Promise<(readonly [string, number])[]> {
  return await mesh
    .textFile('/text.txt')
    .flatMap(line => (round < 0 ? [] : (line.toLowerCase().match(/[a-z']+/g) ?? [])))
    .map((word): [string, number] => [word, 1])
    .reduceByKey((a, b) => a + b)
    .takeOrdered(10, ([, count]) => -count)
}

/** The same counts, by the fastest awk. */
async function mawkWords(path: string): Promise<void> {
  const program = `{ $0 = tolower($0); gsub(/[^a-z']+/, " "); for (i = 1; i <= NF; i++) n[$i]++ } END { for (w in n) print n[w], w }`
  await promisify(execFile)('mawk', [program, path], {
    maxBuffer: 2 ** 28,
    env: { ...process.env, LC_ALL: 'C' },
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
