import { describe, expect, it } from 'vitest'
import { JOB_MUTANTS } from './job-mutants.ts'
import { runJobSeed } from './run-job-seed.ts'

const SEEDS = 500
const SEEDS_PER_TEST = 100
/** Each planted bug must show within so many seeds. */
const MUTANT_SEEDS = 6_000

/** More seeds: `npm run test:sim -- --jobs --seeds 100000`. */
describe('simulated jobs on 1 to 5 peers', () => {
  for (let from = 1; from <= SEEDS; from += SEEDS_PER_TEST) {
    const to = from + SEEDS_PER_TEST - 1
    it(`seeds ${from} to ${to}: every job ends as it must, each result is right and accepted once, and nothing is left`, () => {
      for (let seed = from; seed <= to; seed++) {
        const first = runJobSeed(seed)
        const repeat = `npm run test:sim -- --jobs --from ${seed} --seeds 1 --trace 2000`
        expect(first.failure, `seed ${seed}; to see it: ${repeat}`).toBeUndefined()
        expect(runJobSeed(seed).traceHash, `seed ${seed} runs differently the second time`).toBe(
          first.traceHash,
        )
      }
    })
  }

  it('different seeds are different runs, most jobs of which are done and some of which must fail', () => {
    const results = Array.from({ length: 100 }, (_, index) => runJobSeed(index + 1))
    expect(new Set(results.map(({ traceHash }) => traceHash)).size).toBe(results.length)
    const sum = (of: (result: (typeof results)[number]) => number): number =>
      results.reduce((total, result) => total + of(result), 0)
    expect(sum(({ jobs }) => jobs)).toBeGreaterThan(300)
    expect(sum(({ done }) => done) / sum(({ jobs }) => jobs)).toBeGreaterThan(0.6)
    expect(sum(({ failed }) => failed)).toBeGreaterThan(20)
    expect(sum(({ speculated }) => speculated)).toBeGreaterThan(20)
  })

  for (const [name, { mutant, harm, from = 1 }] of Object.entries(JOB_MUTANTS)) {
    it(`find a mesh that ${name}, within ${MUTANT_SEEDS}`, () => {
      for (let seed = from; seed < from + MUTANT_SEEDS; seed++) {
        const { failure } = runJobSeed(seed, { mutant: mutant() })
        // A seed that fails without the bug says nothing of it.
        if (failure === undefined || runJobSeed(seed).failure !== undefined) continue
        expect(failure.message).toMatch(harm)
        return
      }
      expect.unreachable('no seed failed')
    })
  }
})
