import { describe, expect, it } from 'vitest'
import { runSeed } from './run-seed.ts'

const SEEDS = 400
const SEEDS_PER_TEST = 50

/**
 * Each seed runs twice: in both runs all promises hold, and both are the same to the last event.
 * More seeds: `npm run test:sim -- --seeds 100000 --from 1`.
 */
describe('simulated meshes of 1 to 7 peers', () => {
  for (let from = 1; from <= SEEDS; from += SEEDS_PER_TEST) {
    const to = from + SEEDS_PER_TEST - 1
    it(`seeds ${from} to ${to}: nothing acknowledged is lost, and all is well after healing`, () => {
      for (let seed = from; seed <= to; seed++) {
        const first = runSeed(seed)
        const repeat = `npm run test:sim -- --from ${seed} --seeds 1 --trace 200`
        expect(first.failure, `seed ${seed} (${first.profile}); to see it: ${repeat}`).toBeUndefined()
        expect(runSeed(seed).traceHash, `seed ${seed} runs differently the second time`).toBe(first.traceHash)
      }
    })
  }

  it('different seeds are different runs, and they do work', () => {
    const results = Array.from({ length: 20 }, (_, index) => runSeed(index + 1))
    expect(new Set(results.map(result => result.traceHash)).size).toBe(results.length)
    const acked = results.reduce((sum, result) => sum + result.acked, 0)
    expect(acked / results.length).toBeGreaterThan(30)
    expect(new Set(results.map(result => result.profile)).size).toBeGreaterThan(3)
  })
})
