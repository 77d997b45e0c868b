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
  /** Most by which bad local health stretches a peer's own probe interval and time-outs. @default 8 */
  healthFactorMax: number
  /** Compares the whole table, by its hash, with one random live peer. @default 30_000 */
  syncIntervalMs: number
  /**
   * Compares with one random dead peer, so that a healed partition heals here too; where the dead are few against the
   * living only with that probability, so that all together do not flood a single one. @default 5_000
   */
  deadSyncIntervalMs: number
  /** A peer that knows nobody alive asks one of its join peers this often. @default 1_000 */
  joinRetryMs: number
  /** Own news is gathered this long before it is published. @default 200 */
  publishIntervalMs: number
  /** One batch of updates, on the topic or on a ping (it holds at least one). @default 1_024 */
  batchBytes: number
  /** Batches published at one time; the rest waits for the next. @default 8 */
  publishBatchesMax: number
  /** At most one exchange in this time is started with a sender that is unknown or dead here. @default 200 */
  strangerSyncIntervalMs: number
  /** An update rides on this × ⌈log10(members + 1)⌉ pings and acks. @default 4 */
  retransmitFactor: number
  /** Dead and departed members are forgotten after this, so that the table ends. @default 86_400_000 */
  forgetMs: number
  /** Members known at once; for further ones the longest gone is forgotten, and if there is none they are not taken in. @default 10_000 */
  membersMax: number
  /** Returns from the dead within `flapWindowMs` that put a member into quarantine. @default 3 */
  flapTurns: number
  /** @default 300_000 */
  flapWindowMs: number
  /** The first quarantine: no new replicas, tasks or votes; each further one lasts twice as long. @default 60_000 */
  quarantineMs: number
  /** The longest quarantine; as long must a member be calm after one to be forgiven. @default 600_000 */
  quarantineMaxMs: number
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
  healthFactorMax: 8,
  syncIntervalMs: 30_000,
  deadSyncIntervalMs: 5_000,
  joinRetryMs: 1_000,
  publishIntervalMs: 200,
  batchBytes: 1_024,
  publishBatchesMax: 8,
  strangerSyncIntervalMs: 200,
  retransmitFactor: 4,
  forgetMs: 86_400_000,
  membersMax: 10_000,
  flapTurns: 3,
  flapWindowMs: 300_000,
  quarantineMs: 60_000,
  quarantineMaxMs: 600_000,
}

/** Timers and bounds of the election and the replicated log. All peers of a mesh should use the same timers. */
export interface RaftOptions {
  /** How often the driver tells the machine the time; the grain of every timer below. @default 100 */
  tickMs: number
  /**
   * A tick later than this means that this process stood still: what it stood still beyond that does not count as waiting for
   * an answer or a leader, for what came meanwhile it has not read yet. @default 250
   */
  stallMs: number
  /**
   * A peer whose disk has not finished a write for this long says no more that it leads or follows, and so counts as gone. Until
   * then a slow disk costs nobody the lead. @default 5_000
   */
  writeStallMs: number
  /** Leader to voters. A fifth of the shortest election timeout: four may be lost. @default 300 */
  heartbeatMs: number
  /** Leader to learners, which campaign never: only the commit index and the leader's name are at stake. @default 900 */
  learnerHeartbeatMs: number
  /** Election timeouts are uniform in [min, max): long enough for a collection of garbage and a lazy gossip hop. @default 1_500 */
  electionMinMs: number
  /** @default 3_000 */
  electionMaxMs: number
  /**
   * A leader that no majority answered for this long steps down, and peers that heard a leader this lately refuse
   * votes. At most `electionMinMs`, or a follower could be timed out and still be refused. @default 1_500
   */
  quorumWindowMs: number
  /** After the connection to the leader closed, a voter asks for pre-votes within this (random) time. @default 250 */
  earlyElectionMs: number
  /** How often a leader says on gossip that it leads, besides when it begins. @default 5_000 */
  announceMs: number
  /** Entries of one append. @default 256 */
  appendEntriesMax: number
  /** Bytes of one append (it holds at least one entry); with its heads it must fit a message head. @default 524_288 */
  appendBytesMax: number
  /** Appends without a reply per peer; then the leader waits. Bounds the leader's send memory at 4 MiB a peer. @default 8 */
  inflightMax: number
  /** A larger command is refused with TOO_LARGE: bulk belongs in blocks, and one entry must not delay heartbeats. @default 262_144 */
  entryBytesMax: number
  /** Entries not committed yet; more proposals are refused with BUSY. @default 4_096 */
  uncommittedMax: number
  /** Bytes not committed yet; more proposals are refused with BUSY. @default 16_777_216 */
  uncommittedBytesMax: number
  /** Reads waiting for their round; more are refused. @default 4_096 */
  readsMax: number
  /** The state machine is snapshotted after this many applied entries … @default 10_000 */
  snapshotEntries: number
  /** … or this many bytes of them, whichever comes first. Bounds the log in memory and on disk. @default 33_554_432 */
  snapshotBytes: number
  /** Entries kept before a snapshot, so that a peer that was away shortly needs no snapshot. @default 1_000 */
  trailingEntries: number
  /** A snapshot in flight is given up after this. @default 60_000 */
  snapshotTimeoutMs: number
}

export const raftDefaults: Readonly<RaftOptions> = {
  tickMs: 100,
  stallMs: 250,
  writeStallMs: 5_000,
  heartbeatMs: 300,
  learnerHeartbeatMs: 900,
  electionMinMs: 1_500,
  electionMaxMs: 3_000,
  quorumWindowMs: 1_500,
  earlyElectionMs: 250,
  announceMs: 5_000,
  appendEntriesMax: 256,
  appendBytesMax: 524_288,
  inflightMax: 8,
  entryBytesMax: 262_144,
  uncommittedMax: 4_096,
  uncommittedBytesMax: 16_777_216,
  readsMax: 4_096,
  snapshotEntries: 10_000,
  snapshotBytes: 33_554_432,
  trailingEntries: 1_000,
  snapshotTimeoutMs: 60_000,
}

/** When the leader changes who votes. */
export interface VotersOptions {
  /** A learner that trails by more entries is not promoted: the commit of its promotion would wait for it. @default 250 */
  trailingMax: number
  /** A learner must have answered this lately to be promoted: two of its heartbeats. @default 2_000 */
  silentMs: number
  /** How long a learner must have been fit before it is promoted; short, so that a new mesh is safe soon. @default 500 */
  stableMs: number
  /** A voter that is gone this long is replaced, when there is a fit learner. @default 10_000 */
  replaceAfterMs: number
}

export const votersDefaults: Readonly<VotersOptions> = {
  trailingMax: 250,
  silentMs: 2_000,
  stableMs: 500,
  replaceAfterMs: 10_000,
}

/** What the driver of the replicated log bounds. */
export interface ReplicatedLogOptions {
  /** A proposal whose commit is not known by then rejects with UNKNOWN_OUTCOME. @default 10_000 */
  proposeTimeoutMs: number
  /** A read that finds no leader with a majority by then rejects with NO_QUORUM. @default 3_000 */
  readTimeoutMs: number
  /** A read's question or answer may be lost: it is asked again after this. @default 600 */
  readRetryMs: number
  /** Proposals not settled yet; more reject with BUSY. @default 8_192 */
  proposalsMax: number
  /** Effects waiting for the disk; past it incoming messages are dropped, which Raft bears. @default 16_384 */
  effectsMax: number
  /** Snapshots sent at the same time; other peers that need one wait for their turn. @default 2 */
  snapshotsMax: number
  /** Longest snapshot taken in from a leader. @default 1_073_741_824 */
  snapshotBytesMax: number
  /** Last snapshot and commands since, together: a larger state is not written down by the main thread. @default 524_288 */
  snapshotInlineBytes: number
  /** A snapshot that is not made by then in the other thread is made in this one. @default 300_000 */
  snapshotMakeTimeoutMs: number
}

export const replicatedLogDefaults: Readonly<ReplicatedLogOptions> = {
  proposeTimeoutMs: 10_000,
  readTimeoutMs: 3_000,
  readRetryMs: 600,
  proposalsMax: 8_192,
  effectsMax: 16_384,
  snapshotsMax: 2,
  snapshotBytesMax: 1_073_741_824,
  snapshotInlineBytes: 524_288,
  snapshotMakeTimeoutMs: 300_000,
}

/** Room on the disk that holds the log. */
export interface DiskSpaceOptions {
  /**
   * Kept free for metadata by a file of that size, which is deleted when the disk is full: deleting files needs the log,
   * too. 0: none. @default 67_108_864
   */
  reserveBytes: number
  /** With a smaller share of the disk free, a leader hands over to a voter with more … @default 0.05 */
  lowShare: number
  /** … but this much is enough on any disk. @default 2_147_483_648 */
  lowBytesMax: number
  /** How often the free room is looked at, and a lost reserve made again. @default 5_000 */
  spaceCheckMs: number
  /** A write that found the disk full tries again after this. @default 500 */
  spaceRetryMs: number
}

export const diskSpaceDefaults: Readonly<DiskSpaceOptions> = {
  reserveBytes: 67_108_864,
  lowShare: 0.05,
  lowBytesMax: 2_147_483_648,
  spaceCheckMs: 5_000,
  spaceRetryMs: 500,
}
