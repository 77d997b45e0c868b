import { describe, expect, it } from 'vitest'
import { CheckFailure } from '../check.ts'
import { PLANTED_BUGS } from './mesh-mutants.ts'
import { runMeshSeed } from './run-mesh-seed.ts'
import { meshProfile } from './storage-nemesis.ts'

const SEEDS_MAX = 150

describe('seeds of whole peers find a peer that', () => {
  for (const [name, { mutant, profile, harm, from = 1 }] of Object.entries(PLANTED_BUGS)) {
    it(name, () => {
      for (let seed = from; seed <= SEEDS_MAX; seed++) {
        const { failure } = runMeshSeed(seed, { mutant, profile: meshProfile(profile) })
        if (failure === undefined) continue
        expect(failure).toBeInstanceOf(CheckFailure)
        expect(failure.message).toMatch(harm)
        return
      }
      expect.unreachable(`none of ${SEEDS_MAX} seeds failed`)
    })
  }

  it('breaks a rule of storage: at least fifteen are planted', () => {
    expect(Object.keys(PLANTED_BUGS).length).toBeGreaterThanOrEqual(15)
  })
})
