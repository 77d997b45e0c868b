/** Arcs of the hash ring. Fixed at genesis: every peer of a mesh must use the same. 16_384 beyond 500 peers. */
export const SLOT_COUNT = 4096
/** Copies of each block wanted when nobody asks for another number. Two can die before a third is needed. */
export const REPLICATION = 3

export interface NamespaceLimits {
  /** Must equal the slot table's. @default 4096 */
  slotCount: number
  /** Open writes; the next one is refused with BUSY. Bounds the replicated state a crowd of writers can pin. @default 10_000 */
  leasesMax: number
  /** Longest time a lease may be asked for, so that a vanished writer's blocks do not stay. @default 600_000 */
  leaseMsMax: number
  /** The same for a write with a token, whose client may come back to it (an upload that is resumed). @default 86_400_000 */
  tokenLeaseMsMax: number
  /** Blocks in one `add-blocks` or `report-holders`; keeps a log entry under 64 KiB. @default 128 */
  blocksPerCommandMax: number
  /** Partitions of one file. @default 1_048_576 (32 TiB at 32 MiB each) */
  blocksPerFileMax: number
  /** Files and directories of the mesh; more are refused with BUSY. The namespace lies in each peer's memory. @default 10_000_000 */
  entriesMax: number
  /** Files that one `commit-output` makes visible; 34 bytes each in the log entry. @default 10_000 */
  outputPartsMax: number
  /** Snapshots of one directory. @default 1_024 */
  snapshotsPerDirectoryMax: number
  /** Snapshots of the mesh. @default 65_536 */
  snapshotsMax: number
  /** Names that one `expunge` ends, so that applying it stays short; at least one removal goes whole. @default 10_000 */
  expungeMax: number
  /** Client sessions remembered; the longest idle one goes first. @default 10_000 */
  sessionsMax: number
  /** Log time after which an idle session is forgotten; far longer than any client retries. @default 3_600_000 */
  sessionIdleMs: number
  /** Results remembered per session; must exceed what one client has under way at a time. @default 64 */
  resultsPerSessionMax: number
}

export const NAMESPACE_DEFAULTS: NamespaceLimits = {
  slotCount: SLOT_COUNT,
  leasesMax: 10_000,
  leaseMsMax: 600_000,
  tokenLeaseMsMax: 86_400_000,
  blocksPerCommandMax: 128,
  blocksPerFileMax: 1_048_576,
  entriesMax: 10_000_000,
  outputPartsMax: 10_000,
  snapshotsPerDirectoryMax: 1_024,
  snapshotsMax: 65_536,
  expungeMax: 10_000,
  sessionsMax: 10_000,
  sessionIdleMs: 3_600_000,
  resultsPerSessionMax: 64,
}

/** What `rm` puts into the trash ends after this long, by log time. */
export const TRASH_AGE_MS = 86_400_000

/**
 * What leases, sessions and the trash age at most between two commands of different terms. A mesh that was down as a whole
 * takes its log time from one wall clock, which may show anything: the rest of such a leap ages nothing.
 */
export const AGED_BETWEEN_TERMS_MS = 10_000

export interface RepairOptions {
  /** @default 4096 */
  slotCount: number
  /** Copies of a slot that the table names; fewer when there are fewer peers. @default 3 */
  replication: number
  /**
   * From the moment a peer is declared dead until its slots get other owners: a restart should cost nothing. Peers
   * that left on purpose are replaced at once. @default 30_000 (1_000–5_000 in tests)
   */
  graceMs: number
  /** Block copies under way in the whole mesh; more wait. What the leader keeps in mind, not what peers can do: that is the next. @default 256 */
  copiesMax: number
  /** Block copies under way into one peer, and out of one, so that repair leaves its disk and network to others. @default 4 */
  copiesPerPeerMax: number
  /** The same two bounds for blocks of which one living copy is left; these wait for nothing else. @default 256 */
  urgentCopiesMax: number
  /** @default 16 */
  urgentCopiesPerPeerMax: number
  /** Slots with data in motion at a time, as a share of all; the table refuses more than a quarter. @default 0.25 */
  movingShareMax: number
  /** Before a failed copy (doubled each time, up to 32 times this) or a failed command is tried again. @default 1_000 */
  retryMs: number
  /** Blocks looked at in one step, so that a step stays within a few milliseconds; the rest follows with the next. @default 5_000 */
  scanBlocksMax: number
  /** Between two looks at every slot, in case a change was not noticed. @default 60_000 */
  rescanMs: number
  /** Before a command without an answer (leader busy, no quorum) or a copy nobody reported on is given up and planned anew. @default 120_000 */
  effectTimeoutMs: number
  /** A copy that was read from end to end and found good counts as good for so long when another copy of the block is to go. @default 600_000 */
  checkedForMs: number
}

export const REPAIR_DEFAULTS: RepairOptions = {
  slotCount: SLOT_COUNT,
  replication: REPLICATION,
  graceMs: 30_000,
  copiesMax: 256,
  copiesPerPeerMax: 4,
  urgentCopiesMax: 256,
  urgentCopiesPerPeerMax: 16,
  movingShareMax: 0.25,
  retryMs: 1_000,
  scanBlocksMax: 5_000,
  rescanMs: 60_000,
  effectTimeoutMs: 120_000,
  checkedForMs: 600_000,
}

/** A copy slower than this is given up: its source or its network is of no use. */
const COPY_BYTES_PER_SECOND_MIN = 1024 * 1024

/** How long the bytes of one copy may take, beside the fixed part: a large block at the slowest useful rate. */
export function copyDeadlineMs(sizeBytes: number): number {
  return Math.ceil((sizeBytes * 1_000) / COPY_BYTES_PER_SECOND_MIN)
}

export interface BlockStoreOptions {
  /** Largest block taken. @default 2_147_483_648 (twice the splitter's hard limit) */
  blockBytesMax: number
  /** Free space never given to blocks: the metadata log must be able to go on. @default 268_435_456 */
  diskReserveBytes: number
}

export const BLOCK_STORE_DEFAULTS: BlockStoreOptions = {
  blockBytesMax: 2 ** 31,
  diskReserveBytes: 256 * 2 ** 20,
}

export interface FileOptions {
  /** Where the splitter aims when the writer does not say. Large enough to amortise a task, small enough to share out. @default 33_554_432 */
  partitionBytes: number
  /** Lease of an open write; extended at a third of it while bytes come. How long a vanished writer's blocks are kept, at least. @default 60_000 */
  leaseMs: number
  /** Lease of an upload that is to be taken up again, from the last time it was opened or extended. At most `leaseMsMax` of writes with a token. @default 86_400_000 */
  resumableLeaseMs: number
  /** Blocks of an upload that may be taken up again are recorded no later than this after they are safe. @default 1_000 */
  recordMs: number
  /** Blocks of one put under way: one is streamed while the one before is being synced by its owners. @default 2 */
  blocksInFlight: number
  /** Blocks recorded in one log entry of a long put. Keeps the entry near 16 KiB. @default 64 */
  blocksPerEntry: number
  /** Bytes waiting for the slowest owner of a block before the source waits. @default 1_048_576 */
  replicaQueueBytes: number
  /** Start of a block kept so that another peer can take the place of an owner that fails early. @default 1_048_576 */
  replayBytes: number
  /** An owner that takes no byte for this long while the others wait is left behind. Longer than a bad fsync. @default 5_000 */
  replicaStallMs: number
  /** How long the other owners are waited for once enough acknowledged. @default 2_000 */
  lateReplicaMs: number
  /** From the last byte of a block until enough owners acknowledged; else UNDER_REPLICATED. @default 30_000 */
  ackTimeoutMs: number
  /** Longest one block may take to come in from the client. The idle limit of the body ends a dead client much sooner. @default 3_600_000 */
  blockWriteTimeoutMs: number
  /** Until a holder begins to answer a read; then the next one is asked. @default 3_000 */
  readHeadTimeoutMs: number
  /** Longest pause inside a read; then the next holder goes on from there. @default 5_000 */
  readIdleMs: number
  /** A second holder is asked when the first lets wait longer than nineteen of twenty reads had to, but never sooner than this. @default 50 */
  hedgeFloorMs: number
  /** Second holders asked, as a share of the reads. @default 0.05 */
  hedgeShareMax: number
  /** How often all holders are tried for one block without any progress. @default 3 */
  readRounds: number
  /** Pause between two rounds. @default 200 */
  readRetryMs: number
  /** The next block is opened when no more than this is left of the current one. @default 1_048_576 */
  prefetchBytes: number
  /** Longest one block copy or verification of repair, beside what its bytes take at the slowest useful rate. @default 120_000 */
  copyTimeoutMs: number
  /**
   * Bytes per second that one peer pulls for repair and slot moves, all copies together: some of a disk's and a 1 Gbit/s
   * network's rate, the most is left to people. Copies of blocks with one living copy left are not slowed. @default 33_554_432
   */
  copyBytesPerSecond: number
  /** Checks of replicas under way on behalf of readers and people, here and asked of others; more are left to the scrub. @default 4 */
  mendsMax: number
  /** Until the log knows that a replica is lost; then it is said again with the next audit. @default 10_000 */
  reportTimeoutMs: number
  /** A block that no file and no lease needs is deleted after this long. @default 600_000 */
  orphanGraceMs: number
  /** How often the disk is compared with the namespace. @default 60_000 */
  orphanSweepMs: number
  /** How often what the log says this peer holds is compared with what its disk has. @default 60_000 */
  auditMs: number
  /** Each block is read and verified when that was last done this long ago. @default 604_800_000 (7 days) */
  scrubPeriodMs: number
  /** Bytes per second that the scrub reads at most: a terabyte in a day and a half. @default 8_388_608 */
  scrubBytesPerSecond: number
  /** How long one piece of the scrub (256 KiB) waits for reads and writes of others to end: under constant load it goes on at 1 MiB/s. @default 250 */
  scrubYieldMs: number
}

export const FILE_DEFAULTS: FileOptions = {
  partitionBytes: 32 * 2 ** 20,
  leaseMs: 60_000,
  resumableLeaseMs: 86_400_000,
  recordMs: 1_000,
  blocksInFlight: 2,
  blocksPerEntry: 64,
  replicaQueueBytes: 2 ** 20,
  replayBytes: 2 ** 20,
  replicaStallMs: 5_000,
  lateReplicaMs: 2_000,
  ackTimeoutMs: 30_000,
  blockWriteTimeoutMs: 3_600_000,
  readHeadTimeoutMs: 3_000,
  readIdleMs: 5_000,
  hedgeFloorMs: 50,
  hedgeShareMax: 0.05,
  readRounds: 3,
  readRetryMs: 200,
  prefetchBytes: 2 ** 20,
  copyTimeoutMs: 120_000,
  copyBytesPerSecond: 32 * 2 ** 20,
  mendsMax: 4,
  reportTimeoutMs: 10_000,
  orphanGraceMs: 600_000,
  orphanSweepMs: 60_000,
  auditMs: 60_000,
  scrubPeriodMs: 604_800_000,
  scrubBytesPerSecond: 8 * 2 ** 20,
  scrubYieldMs: 250,
}
