import { describe, expect, it } from 'vitest'
import { CheckFailure } from './check.ts'
import { MEMBER_MUTANTS, MUTANTS } from './mutants.ts'
import type { MutantName } from './mutants.ts'
import { runSeed } from './run-seed.ts'
import { SCENARIOS } from './scenarios.ts'
import type { Scenario } from './scenarios.ts'
import { Stage } from './stage.ts'

function played(scenario: Scenario, mutant?: MutantName): Stage {
  const stage = new Stage(
    scenario.founders,
    scenario.learners,
    mutant === undefined ? undefined : MUTANTS[mutant],
  )
  scenario.play(stage)
  return stage
}

describe('directed schedules', () => {
  for (const scenario of SCENARIOS) {
    describe(scenario.name, () => {
      it('does no harm, and a leader goes on afterwards', () => {
        const stage = played(scenario)
        const { survivors } = scenario
        for (const peer of survivors) if (!stage.runs(peer)) stage.start(peer)
        stage.settle(...survivors)
        const leads = (): string | undefined => survivors.find(peer => stage.machine(peer).ready)
        for (let turn = 0; leads() === undefined && turn < 20; turn++) {
          // Everybody may try: whose log is behind is refused.
          const candidate = survivors[turn % survivors.length]!
          // One that took itself for the leader notices that nobody has answered for long.
          stage.timeOut(candidate)
          stage.elect(candidate, ...survivors.filter(peer => peer !== candidate))
          stage.settle(...survivors)
        }
        const leader = leads()
        expect(leader, 'somebody leads').toBeDefined()
        const before = stage.checker.acked.size
        stage.propose(leader!)
        stage.settle(...survivors)
        expect(stage.checker.acked.size).toBe(before + 1)
      })

      for (const [mutant, harm] of Object.entries(scenario.catches)) {
        it(`catches a peer that ${mutant}`, () => {
          let caught: unknown
          try {
            played(scenario, mutant as MutantName)
          } catch (error) {
            caught = error
          }
          expect(caught).toBeInstanceOf(CheckFailure)
          expect((caught as CheckFailure).message).toMatch(harm)
        })
      }
    })
  }

  it('there is one for every planted bug', () => {
    const caught = new Set(SCENARIOS.flatMap(scenario => Object.keys(scenario.catches)))
    expect([...caught].sort()).toEqual(Object.keys(MUTANTS).sort())
  })
})

describe('random seeds', () => {
  // The others need schedules that chance does not find in so few seeds: that is what the directed ones are for.
  const FOUND_BY_CHANCE: MutantName[] = [
    'votes twice in a term',
    'forgets its vote in a crash',
    'acknowledges before the disk has it',
    'counts its own entries before its disk has them',
    'changes voters before its own first entry is committed',
    'answers reads before its own first entry is committed',
  ]
  for (const name of FOUND_BY_CHANCE) {
    it(`find a peer that ${name}, within 300`, () => {
      for (let seed = 1; seed <= 300; seed++) {
        if (runSeed(seed, { mutant: MUTANTS[name] }).failure !== undefined) return
      }
      expect.unreachable('no seed failed')
    })
  }

  const MEMBER_HARM = { 'believes old news': /went back/, 'never refutes': /not healed/ }
  for (const [name, machine] of Object.entries(MEMBER_MUTANTS)) {
    it(`find a peer whose membership ${name}, within 100`, () => {
      for (let seed = 1; seed <= 100; seed++) {
        const { failure } = runSeed(seed, { memberMutant: machine })
        if (failure === undefined) continue
        expect(failure.message).toMatch(MEMBER_HARM[name as keyof typeof MEMBER_HARM])
        return
      }
      expect.unreachable('no seed failed')
    })
  }
})
