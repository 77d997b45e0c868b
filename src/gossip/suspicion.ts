/** What decides how long a suspect has to refute: a subset of `MembershipOptions`. */
export interface SuspicionOptions {
  suspicionMs: number
  suspicionMaxFactor: number
  confirmations: number
}

/**
 * Milliseconds from suspicion to death (Lifeguard, section IV-B; memberlist `remainingSuspicionTime`).
 * The first accuser may be the one that is cut off or slow, so alone it must wait long; each further independent
 * accuser makes that less likely and shortens the time logarithmically, to the shortest at `confirmations` of them.
 * In a mesh too small to have that many others, as many as there are suffice.
 *
 * @param members live ones, the suspect and this peer included
 * @param confirmed accusers beyond the first
 */
export function suspicionTimeoutMs(members: number, confirmed: number, options: SuspicionOptions): number {
  const shortestMs = options.suspicionMs * Math.max(1, Math.log10(Math.max(1, members)))
  const enough = Math.min(options.confirmations, members - 2)
  if (enough < 1) return shortestMs
  const longestMs = shortestMs * options.suspicionMaxFactor
  const share = Math.log(confirmed + 1) / Math.log(enough + 1)
  return Math.max(shortestMs, longestMs - (longestMs - shortestMs) * share)
}

/**
 * Whether the leader may propose PeerDown: its own probe failed, and so did those of two others, or of all others when
 * they are fewer. One broken link of the leader therefore removes nobody from a mesh of three or more.
 *
 * @param others live members besides the leader and the accused
 */
export function enoughAccusers(ownProbeFailed: boolean, otherAccusers: number, others: number): boolean {
  return ownProbeFailed && otherAccusers >= Math.min(2, others)
}
