import { describe, expect, it } from 'vitest'
import { membershipDefaults } from '../../../src/gossip/config.ts'
import { enoughAccusers, suspicionTimeoutMs } from '../../../src/gossip/suspicion.ts'

const timeout = (members: number, confirmed: number): number =>
  suspicionTimeoutMs(members, confirmed, membershipDefaults)

describe('suspicion', () => {
  it('lasts 12 s for a lone accuser and 4 s for four, up to ten members', () => {
    expect(timeout(10, 0)).toBe(12_000)
    expect(timeout(10, 3)).toBe(4_000)
    expect(timeout(5, 3)).toBe(4_000)
  })

  it('grows with the logarithm of the mesh', () => {
    expect(timeout(1_000, 3)).toBeCloseTo(12_000)
    expect(timeout(100, 3)).toBeCloseTo(8_000)
  })

  it('each further accuser shortens it, the first ones most, and never below the shortest', () => {
    const saved = [1, 2, 3].map(confirmed => timeout(10, confirmed - 1) - timeout(10, confirmed))
    expect(saved[0]).toBeGreaterThan(saved[1]!)
    expect(saved[1]).toBeGreaterThan(saved[2]!)
    expect(saved[2]).toBeGreaterThan(0)
    expect(timeout(10, 50)).toBe(4_000)
  })

  it('does not wait for others where there are none', () => {
    expect(timeout(2, 0)).toBe(4_000)
    expect(timeout(3, 0)).toBe(12_000)
    expect(timeout(3, 1)).toBe(4_000)
  })
})

describe('PeerDown', () => {
  it('needs the own failed probe of the leader, whoever else accuses', () => {
    expect(enoughAccusers(false, 8, 8)).toBe(false)
  })

  it('needs two others, or as many as there are', () => {
    expect(enoughAccusers(true, 1, 3)).toBe(false)
    expect(enoughAccusers(true, 2, 3)).toBe(true)
    expect(enoughAccusers(true, 0, 1)).toBe(false)
    expect(enoughAccusers(true, 1, 1)).toBe(true)
    expect(enoughAccusers(true, 0, 0)).toBe(true)
  })
})
