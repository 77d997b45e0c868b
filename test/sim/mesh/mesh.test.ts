import { describe, expect, it } from 'vitest'
import { checkLinearizable } from '../../../src/chaos/index.ts'
import { meshModel } from './mesh-model.ts'
import { runMeshSeed } from './run-mesh-seed.ts'
import { meshProfile } from './storage-nemesis.ts'

const SEEDS = 30
const SEEDS_PER_TEST = 10

/**
 * Each seed runs twice: in both runs all promises hold, and both are the same to the last event.
 * More seeds: `npm run test:sim -- --only mesh --seeds 10000`.
 */
describe('simulated meshes with files on disks that fail', () => {
  for (let from = 1; from <= SEEDS; from += SEEDS_PER_TEST) {
    const to = from + SEEDS_PER_TEST - 1
    it(`seeds ${from} to ${to}: no acknowledged byte is lost or wrong, and all is well after healing`, () => {
      for (let seed = from; seed <= to; seed++) {
        const first = runMeshSeed(seed)
        const repeat = `npm run test:sim -- --only mesh --from ${seed} --seeds 1 --trace 200`
        expect(first.failure, `seed ${seed} (${first.profile}); to see it: ${repeat}`).toBeUndefined()
        const second = runMeshSeed(seed)
        expect(second.traceHash, `seed ${seed} runs differently the second time`).toBe(first.traceHash)
      }
    })
  }

  it('different seeds are different runs, and they do work', () => {
    const results = Array.from({ length: 12 }, (_, index) => runMeshSeed(index + 1))
    expect(new Set(results.map(result => result.traceHash)).size).toBe(results.length)
    expect(new Set(results.map(result => result.profile)).size).toBeGreaterThan(3)
    const sum = (of: (result: (typeof results)[number]) => number): number =>
      results.reduce((total, result) => total + of(result), 0)
    expect(sum(({ done }) => done)).toBeGreaterThan(300)
    expect(sum(({ blocks }) => blocks)).toBeGreaterThan(50)
    expect(sum(({ deletions }) => deletions)).toBeGreaterThan(100)
  })

  it('an answer that was true once and comes too late is found in the history', () => {
    const { history, failure } = runMeshSeed(4)
    expect(failure).toBeUndefined()
    const late = history.findLast(
      ({ op, output }) => op === 'read' && output !== null && 'ok' in output && output.ok !== null,
    )
    expect(late).toBeDefined()
    const stale = { ...late!, output: { ok: 'put 0 part 0 of 1;' } }
    const wrong = history.map(operation => (operation === late ? stale : operation))
    expect(checkLinearizable(meshModel, wrong).verdict).toBe('violated')
  })

  it('wall clocks that jump by an hour or a day, ten times a second, end no lease and harm nothing', () => {
    const calm = meshProfile('calm')
    const profile = { ...calm, name: 'mad clocks', everyMs: 100, acts: { 'clock-jump': 1 } }
    for (let seed = 1; seed <= 10; seed++) {
      const { failure, history } = runMeshSeed(seed, { profile })
      expect(failure, `seed ${seed}`).toBeUndefined()
      const refused = history.filter(
        ({ output }) => output !== null && 'error' in output && output.error === 'LEASE_LOST',
      )
      expect(refused, `seed ${seed}`).toEqual([])
    }
  })
})
