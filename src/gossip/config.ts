/**
 * Timers and bounds of membership. The values are those of memberlist's LAN profile unless a reason is given. Peers
 * with different values understand each other.
 */
export interface MembershipOptions {
  /** How often the driver calls `tick`; also the unit by which a late tick is judged. @default 100 */
  tickMs: number
  /** One peer is probed per interval, whatever the size of the mesh. @default 1_000 */
  probeIntervalMs: number
  /** How long a direct ping may take before helpers are asked. @default 500 */
  probeTimeoutMs: number
  /** How long helpers have after that. Longer than the direct limit because the way has four legs. @default 1_000 */
  indirectTimeoutMs: number
  /** Helpers asked when a direct ping fails. @default 3 */
  helpers: number
  /** Probes in flight beyond the periodic one are not started at this bound. @default 16 */
  probesMax: number
  /** Pings forwarded for others at the same time; more are ignored, the asker has other helpers. @default 64 */
  relaysMax: number
  /** Shortest time from suspicion to death, for up to ten members; × log10(members) above. @default 4_000 */
  suspicionMs: number
  /** The longest is this many times the shortest, while nobody else accuses. @default 3 */
  suspicionMaxFactor: number
  /** Further accusers that bring the time down to its shortest. @default 3 */
  confirmations: number
  /** Accusers remembered and told per member: enough for the leader's rule and the formula. @default 8 */
  accusersMax: number
  /** How many members, on average, check a suspicion at once by a probe of their own. @default 8 */
  confirmers: number
  /** A tick later than this means that this process stood still: it then accuses nobody. @default 250 */
  stallMs: number
  /** Full exchange with one random live peer. @default 30_000 */
  syncIntervalMs: number
  /** Exchange with one random dead peer, so that a healed partition heals here too. @default 5_000 */
  deadSyncIntervalMs: number
  /** A peer that knows nobody alive asks one of its join peers this often. @default 1_000 */
  joinRetryMs: number
  /** Own news is gathered this long before it is published. @default 200 */
  publishIntervalMs: number
  /** One batch of updates, on the topic or on a ping (it holds at least one). @default 1_024 */
  batchBytes: number
  /** An update rides on this × ⌈log10(members + 1)⌉ pings and acks. @default 4 */
  retransmitFactor: number
  /** Dead and departed members are forgotten after this, so that the table ends. @default 86_400_000 */
  forgetMs: number
  /** Members known at once; further ones are not taken in. @default 10_000 */
  membersMax: number
}

export const membershipDefaults: Readonly<MembershipOptions> = {
  tickMs: 100,
  probeIntervalMs: 1_000,
  probeTimeoutMs: 500,
  indirectTimeoutMs: 1_000,
  helpers: 3,
  probesMax: 16,
  relaysMax: 64,
  suspicionMs: 4_000,
  suspicionMaxFactor: 3,
  confirmations: 3,
  accusersMax: 8,
  confirmers: 8,
  stallMs: 250,
  syncIntervalMs: 30_000,
  deadSyncIntervalMs: 5_000,
  joinRetryMs: 1_000,
  publishIntervalMs: 200,
  batchBytes: 1_024,
  retransmitFactor: 4,
  forgetMs: 86_400_000,
  membersMax: 10_000,
}
