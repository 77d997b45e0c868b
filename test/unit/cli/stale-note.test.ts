import { expect, test } from 'vitest'
import { staleNote } from '../../../src/cli/stale-note.ts'

test('a note on stale answers says which entry they know of and for how long nothing newer was heard', () => {
  expect(staleNote({ index: 812, ageMs: 2_300 })).toMatch(/log entry 812\b.*2\.3 ?s ago/)
  expect(staleNote({ index: 7 })).toMatch(/log entry 7\b.*no leader since it began/)
})
