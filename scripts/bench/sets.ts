import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import type { RDD } from '../../src/index.ts'
import { BenchMesh } from './bench-mesh.ts'
import { BenchRows } from './bench-rows.ts'
import { interleaved, ms, timeMs, type Figures } from './figures.ts'
import { plainScript } from './plain-script.ts'

const PEERS = 2
const ROUNDS = 5
const ROWS = 1_000_000
const GROUP_KEYS = 100_000
/** As many as rows: about one partner for each row. */
const JOIN_KEYS = ROWS
const VALUES = 1_000

/** Two peers with one worker each group 1e6 rows; against a script with a Map of arrays. */
export async function groupBy(figures: Figures): Promise<void> {
  using rows = await writeRows(GROUP_KEYS)
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  await mesh.fs.put('/rows.csv', createReadStream(rows.path))
  let answer = Number.NaN
  let expected: unknown
  const { ours, plain } = await interleaved(ROUNDS, {
    ours: round =>
      timeMs(async () => {
        answer = await pairs(mesh.textFile('/rows.csv'), round)
          .groupByKey()
          .map(([, values]) => values.length * Math.max(...values))
          .sum()
      }),
    plain: async () => {
      const result = await plainScript('plain-group-by.ts', rows.path)
      expected = result.answer
      return result.tookMs
    },
  })
  assert.equal(answer, expected)
  figures.add({
    name: 'group 1e6 rows into 1e5 keys, 2 peers',
    value: ms(ours),
    against: `script ${ms(plain)}`,
    score: ours / plain,
    target: { atMost: 0.75 },
  })
}

/** Two sets of 1e6 rows; against a script that joins through a Map. */
export async function join(figures: Figures): Promise<void> {
  using left = await writeRows(JOIN_KEYS)
  using right = await writeRows(JOIN_KEYS, VALUES)
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  await mesh.fs.put('/left.csv', createReadStream(left.path))
  await mesh.fs.put('/right.csv', createReadStream(right.path))
  let answer = Number.NaN
  let expected: unknown
  const { ours, plain } = await interleaved(ROUNDS, {
    ours: round =>
      timeMs(async () => {
        answer = await pairs(mesh.textFile('/left.csv'), round)
          .join(pairs(mesh.textFile('/right.csv'), round))
          .map(([, [a, b]]) => (a * b) % 1_000)
          .sum()
      }),
    plain: async () => {
      const result = await plainScript('plain-join.ts', left.path, right.path)
      expected = result.answer
      return result.tookMs
    },
  })
  assert.equal(answer, expected)
  figures.add({
    name: 'join of two sets of 1e6 rows, 2 peers',
    value: ms(ours),
    against: `script ${ms(plain)}`,
    score: ours / plain,
    target: { atMost: 0.8 },
  })
}

/** @param skip Numbers of the sequence to leave out, so that a second set is another one. */
async function writeRows(keys: number, skip = 0): Promise<BenchRows> {
  return await BenchRows.write(ROWS, (i, random) => {
    if (i === 0) for (let n = 0; n < skip; n++) random()
    return `k${Math.floor(random() * keys)},${Math.floor(random() * VALUES)}`
  })
}

/** The captured number makes each round another lineage: the outputs of the one before are no use to it. */
function pairs(lines: RDD<string>, round: number): RDD<readonly [string, number]> {
  return lines.map(line => {
    const comma = line.indexOf(',')
    return [line.slice(0, comma), round < 0 ? 0 : Number(line.slice(comma + 1))] as const
  })
}
