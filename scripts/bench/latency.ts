import { BenchMesh } from './bench-mesh.ts'
import { median, ms, quantile, timeMs, type Figures } from './figures.ts'

const PEERS = 5
const WARM_UP = 30
const JOBS = 200
const TASKS = 1_000
const ROUNDS = 7

/** What a job and a task cost beyond their work, from an attached client. */
export async function latency(figures: Figures): Promise<void> {
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  const first = await timeMs(() => mesh.range(0, 8, 1, 8).count())
  for (let i = 0; i < WARM_UP; i++) await mesh.range(0, 8, 1, 8).count()

  const empty: number[] = []
  const mapped: number[] = []
  for (let i = 0; i < JOBS; i++) {
    empty.push(await timeMs(() => mesh.range(0, 8, 1, 8).count()))
    mapped.push(
      await timeMs(() =>
        mesh
          .range(0, 8, 1, 8)
          .map(x => x + i)
          .sum(),
      ),
    )
  }
  const p50 = median(empty)
  figures.add({ name: 'first job of a fresh client and mesh', value: ms(first) })
  figures.add({
    name: 'empty 8-partition job',
    value: `p50 ${ms(p50)}, p95 ${ms(quantile(empty, 0.95))}`,
    score: p50,
    target: { atMost: 5 },
  })
  figures.add({
    name: 'the same with one closure',
    value: `p50 ${ms(median(mapped))}, p95 ${ms(quantile(mapped, 0.95))}`,
  })

  const many: number[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    many.push(await timeMs(() => mesh.range(0, TASKS, 1, TASKS).count()))
  }
  const perTask = median(many.slice(1)) / TASKS
  figures.add({
    name: `trivial task, one of ${TASKS}`,
    value: ms(perTask),
    score: perTask,
    target: { atMost: 0.3 },
  })
}
