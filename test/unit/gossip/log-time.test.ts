import { describe, expect, it } from 'vitest'
import { LogTime } from '../../../src/gossip/log-time.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

describe('log time', () => {
  it('is the wall clock of the leader, as long as that goes as clocks do', () => {
    const time = new LogTime()
    expect(time.next(1_000_000.7, 500, 0)).toBe(1_000_000)
    expect(time.next(1_001_000, 1_000_000, 1_000)).toBe(1_001_000)
    expect(time.next(1_001_000 + DAY_MS, 1_001_000, 1_000 + DAY_MS)).toBe(1_001_000 + DAY_MS)
  })

  for (const jumpMs of [HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS]) {
    it(`goes on when the wall clock of the leader is set by ${jumpMs / HOUR_MS} h, a quarter off at most`, () => {
      const time = new LogTime()
      let last = time.next(10 * DAY_MS, 0, 0)
      for (let nowMs = 1_000; nowMs <= 60_000; nowMs += 1_000) {
        last = time.next(10 * DAY_MS + nowMs + jumpMs, last, nowMs)
        expect(last - 10 * DAY_MS).toBeGreaterThanOrEqual(nowMs * 0.7)
        expect(last - 10 * DAY_MS).toBeLessThanOrEqual(nowMs * 1.3)
      }
    })

    it(`goes on when a new leader's wall clock is ${jumpMs / HOUR_MS} h off`, () => {
      const time = new LogTime()
      time.heard(10 * DAY_MS, 5_000)
      const next = time.next(10 * DAY_MS + 4_000 + jumpMs, 10 * DAY_MS, 9_000)
      expect(next - 10 * DAY_MS).toBeGreaterThanOrEqual(3_000)
      expect(next - 10 * DAY_MS).toBeLessThanOrEqual(5_000)
    })
  }

  it('does not stand still when commands come faster than a millisecond and the wall clock is behind', () => {
    const time = new LogTime()
    let last = time.next(DAY_MS, 0, 0)
    for (let nowMs = 0; nowMs < 1_000; nowMs += 0.25) last = time.next(DAY_MS - HOUR_MS, last, nowMs)
    expect(last - DAY_MS).toBeGreaterThan(700)
  })

  it('takes the wall clock at once when nothing was heard since the start: the whole mesh was down', () => {
    expect(new LogTime().next(3 * DAY_MS, DAY_MS, 0)).toBe(3 * DAY_MS)
  })

  it('never goes back', () => {
    expect(new LogTime().next(DAY_MS, 3 * DAY_MS, 0)).toBe(3 * DAY_MS)
  })
})
