import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryGrants, PAGE_BYTES } from '../../../../src/node/executor/memory-grants.ts'

test('whatever workers ask for, all have no more together than there is, and each its share', () => {
  const asks = fc.array(fc.tuple(fc.nat(3), fc.nat(40)), { maxLength: 80 })
  fc.assert(
    fc.property(fc.integer({ min: 8, max: 60 }), asks, (pages, wanted) => {
      const grants = MemoryGrants.of(4, pages * PAGE_BYTES)
      const has = [0, 0, 0, 0]
      for (const [worker, total] of wanted) {
        const granted = grants.resize(worker, total * PAGE_BYTES)
        if (granted) has[worker] = total
        // Half of it is shared out: nobody is refused that.
        if (total <= Math.floor(pages / 8)) expect(granted).toBe(true)
        const sum = has.reduce((left, right) => left + right, 0)
        expect(grants.grantedBytes).toBe(sum * PAGE_BYTES)
        expect(sum).toBeLessThanOrEqual(pages)
      }
    }),
  )
})

test('one worker may have all that is not the share of the others', () => {
  const grants = MemoryGrants.of(2, 100 * PAGE_BYTES)
  expect(grants.resize(0, 76 * PAGE_BYTES)).toBe(false)
  expect(grants.resize(0, 75 * PAGE_BYTES)).toBe(true)
  expect(grants.resize(1, 26 * PAGE_BYTES)).toBe(false)
  expect(grants.resize(1, 25 * PAGE_BYTES)).toBe(true)
  expect(grants.resize(0, 0)).toBe(true)
  expect(grants.resize(1, 75 * PAGE_BYTES)).toBe(true)
})
