import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { BodyBudget } from '../../../../src/node/net/body-budget.ts'
import { BODY_WINDOW_BYTES, BODY_WINDOW_BYTES_MIN } from '../../../../src/node/net/config.ts'

test('body budget: any order of admissions and releases stays inside both limits and leaks nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 120 }), steps => {
      const limits = { bodiesMax: 8, bytesMax: 4 * BODY_WINDOW_BYTES }
      const budget = new BodyBudget(limits)
      const releases: (() => void)[] = []
      let admitted = 0
      for (const step of steps) {
        if (step < 12 || releases.length === 0) {
          releases.push(
            budget.admit(windowBytes => {
              admitted++
              expect(windowBytes).toBeGreaterThanOrEqual(BODY_WINDOW_BYTES_MIN)
              expect(windowBytes).toBeLessThanOrEqual(BODY_WINDOW_BYTES)
            }),
          )
        } else {
          const [release] = releases.splice(step % releases.length, 1)
          release!()
          release!()
        }
        expect(budget.bodies).toBeLessThanOrEqual(limits.bodiesMax)
        expect(budget.bodies).toBe(Math.min(limits.bodiesMax, releases.length))
        expect(budget.grantedBytes).toBeLessThanOrEqual(limits.bytesMax)
      }
      expect(admitted).toBeGreaterThanOrEqual(budget.bodies)
      for (const release of releases) release()
      expect(budget.bodies).toBe(0)
      expect(budget.grantedBytes).toBe(0)
    }),
  )
})

test('body budget: those that wait are admitted in order', () => {
  const budget = new BodyBudget({ bodiesMax: 1, bytesMax: BODY_WINDOW_BYTES })
  const order: string[] = []
  const first = budget.admit(() => order.push('first'))
  budget.admit(() => order.push('second'))
  const third = budget.admit(() => order.push('third'))
  budget.admit(() => order.push('fourth'))
  expect(order).toEqual(['first'])
  third()
  first()
  expect(order).toEqual(['first', 'second'])
})
