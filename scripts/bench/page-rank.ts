import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import type { Mesh } from '../../src/index.ts'
import { BenchMesh } from './bench-mesh.ts'
import { BenchRows } from './bench-rows.ts'
import { interleaved, ms, timeMs, type Figures } from './figures.ts'
import { plainScript } from './plain-script.ts'

const PEERS = 2
const ROUNDS = 3
const PAGES = 100_000
const LINKS = 1_000_000
const ITERATIONS = 10
const PARTITIONS = 8
/** Sums in another order differ in their last digits. */
const TOLERANCE = 1e-9

/**
 * Ten iterations of PageRank over 1e5 pages and 1e6 links. Co-partitioned: links stay where they are and only shares of
 * ranks travel. Otherwise each iteration's join shuffles the links again.
 */
export async function pageRank(figures: Figures): Promise<void> {
  using rows = await BenchRows.write(
    LINKS,
    (_i, random) => `${Math.floor(random() * PAGES)},${Math.floor(random() * PAGES)}`,
  )
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  await mesh.fs.put('/links.csv', createReadStream(rows.path))
  const answers: Record<string, number> = {}
  const ranked = (name: string, together: boolean) => (round: number) =>
    timeMs(async () => {
      answers[name] = await totalRank(mesh, together, round)
    })
  const { together, apart, plain } = await interleaved(ROUNDS, {
    together: ranked('together', true),
    apart: ranked('apart', false),
    plain: async () => {
      const { tookMs, answer } = await plainScript('plain-page-rank.ts', rows.path, String(ITERATIONS))
      answers['plain'] = answer as number
      return tookMs
    },
  })
  for (const name of ['together', 'apart']) {
    assert.ok(
      Math.abs(answers[name]! / answers['plain']! - 1) < TOLERANCE,
      `${answers[name]} is not ${answers['plain']}`,
    )
  }
  figures.add({
    name: 'PageRank, 10 iterations, co-partitioned, 2 peers',
    value: ms(together),
    against: `script ${ms(plain)}`,
    score: together / plain,
    target: { atMost: 3 },
  })
  figures.add({
    name: 'the same, links shuffled each time',
    value: ms(apart),
    against: `script ${ms(plain)}`,
    score: apart / plain,
  })
}

async function totalRank(mesh: Mesh, together: boolean, round: number): Promise<number> {
  const grouped = mesh
    .textFile('/links.csv')
    .map(line => {
      const comma = line.indexOf(',')
      // The captured number makes each round another lineage.
      return [round < 0 ? 0 : Number(line.slice(0, comma)), Number(line.slice(comma + 1))] as const
    })
    .groupByKey(PARTITIONS)
  // A map forgets how the pairs are partitioned.
  const links = (together ? grouped : grouped.map(([page, targets]) => [page, targets] as const)).cache()
  let ranks = links.mapValues(() => 1)
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    ranks = links
      .join(ranks, PARTITIONS)
      .flatMap(([, [targets, rank]]) => targets.map(target => [target, rank / targets.length] as const))
      .reduceByKey((a, b) => a + b, PARTITIONS)
      .mapValues(share => 0.15 + 0.85 * share)
  }
  const total = await ranks.values().sum()
  links.unpersist()
  return total
}
