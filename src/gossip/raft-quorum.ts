import type { PeerId } from '../base/index.ts'

/** How many of `voters` make a majority; two majorities of one set always share a voter. */
export function majorityOf(voters: readonly PeerId[]): number {
  return Math.floor(voters.length / 2) + 1
}

/** True when a majority of `voters` satisfies the condition. Nobody has a majority of no voters. */
export function hasMajority(voters: readonly PeerId[], condition: (voter: PeerId) => boolean): boolean {
  if (voters.length === 0) return false
  let count = 0
  for (const voter of voters) if (condition(voter)) count++
  return count >= majorityOf(voters)
}

/** The largest value that a majority of `voters` has reached; 0 of no voters. */
export function majorityValue(voters: readonly PeerId[], valueOf: (voter: PeerId) => number): number {
  if (voters.length === 0) return 0
  const values = voters.map(valueOf).sort((a, b) => b - a)
  return values[majorityOf(voters) - 1]!
}

/** How many voters the two sets do not share; a single-server change has 1. */
export function votersDifference(a: readonly PeerId[], b: readonly PeerId[]): number {
  const inA = new Set(a)
  const inB = new Set(b)
  return a.filter(voter => !inB.has(voter)).length + b.filter(voter => !inA.has(voter)).length
}
