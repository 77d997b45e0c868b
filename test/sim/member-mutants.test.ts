import { describe, expect, it } from 'vitest'
import { CheckFailure } from './check.ts'
import { MEMBER_SCENARIOS } from './member-mutants.ts'

for (const scenario of MEMBER_SCENARIOS) {
  describe(scenario.name, () => {
    it('does no harm', () => {
      scenario.play()
    })
    for (const [bug, machine] of Object.entries(scenario.catches)) {
      it(`shows a membership that ${bug}`, () => {
        expect(() => scenario.play(machine)).toThrow(CheckFailure)
      })
    }
  })
}
