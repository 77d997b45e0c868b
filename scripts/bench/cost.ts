import { createReadStream } from 'node:fs'
import { BenchMesh } from './bench-mesh.ts'
import { BenchText } from './bench-text.ts'
import { NUMBERS, topWords } from './compute.ts'
import { interleaved, ms, timeMs, type Figures } from './figures.ts'
import { isInstalled } from './installed.ts'
import { plainScript } from './plain-script.ts'

const ROUNDS = 3
/** Cores of the machine that figures are reported for. */
const WORKERS_MAX = 2
/** It is to be seen who wins, not how fast: a fifth of the word count's own. */
const TEXT_SHARE = 0.2

/**
 * COST (McSherry et al., 2015): the number of workers at which a system beats a plain program of one thread. Each worker
 * is a peer of its own here.
 */
export async function cost(figures: Figures, options: { text: number }): Promise<void> {
  using text = await BenchText.write(options.text * TEXT_SHARE)
  const words = new Map<number, number>()
  const numbers = new Map<number, number>()
  for (let workers = 1; workers <= WORKERS_MAX; workers++) {
    await using bench = await BenchMesh.start({ peers: workers, workers: 1 })
    const { mesh } = bench
    await mesh.fs.put('/text.txt', createReadStream(text.path))
    const { counted, script } = await interleaved(ROUNDS, {
      counted: round => timeMs(() => topWords(mesh, round)),
      script: async () => (await plainScript('plain-word-count.ts', text.path)).tookMs,
    })
    words.set(workers, counted / script)
    const { summed, loop } = await interleaved(ROUNDS, {
      summed: () =>
        timeMs(() =>
          mesh
            .range(NUMBERS)
            .map(x => x * x)
            .filter(x => x % 2 === 1)
            .sum(),
        ),
      loop: async () => (await plainScript('plain-numeric.ts', String(NUMBERS))).tookMs,
    })
    numbers.set(workers, summed / loop)
    console.log(`  ${workers} of ${WORKERS_MAX} workers: words ${ms(counted)}, sum ${ms(summed)}`)
  }
  report(figures, 'word count', words)
  report(figures, 'sum of odd squares', numbers)
  // No baselines are written for these: they only say whether they could be.
  for (const program of ['duckdb', 'skale']) isInstalled(program)
}

/** @param ratios Of our time to the script's, by workers. */
function report(figures: Figures, name: string, ratios: ReadonlyMap<number, number>): void {
  const winners = [...ratios].filter(([, ratio]) => ratio < 1).map(([workers]) => workers)
  const all = [...ratios].map(([workers, ratio]) => `${workers}: ${ratio.toFixed(2)}`).join(', ')
  figures.add({
    name: `COST of ${name}: workers at which the script is beaten`,
    value: winners.length === 0 ? `more than ${WORKERS_MAX}` : String(Math.min(...winners)),
    against: `of the script's time, by workers: ${all}`,
    score: winners.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...winners),
    target: { atMost: WORKERS_MAX },
  })
}
