/** Bounds of shared variables and of what tasks print: unit, reason, and what happens at the bound. */

export const BROADCAST = {
  /** One value as bytes; larger ones are refused: that is data for a file. */
  valueBytesMax: 1024 * 1024 * 1024,
  /** Piece with a hash of its own: what is received is checked so often, and goes on elsewhere from there. Spark's size. */
  chunkBytes: 4 * 1024 * 1024,
  /** Peers that one peer gives the same broadcast to at the same time; more are sent to those who have it already. */
  servedMax: 2,
  /** Peers that a peer remembers as having a broadcast. */
  sourcesMax: 16,
  /** Peers asked whether they have it, when none of the known ones answers. */
  askedMax: 8,
  /** A peer asked for a broadcast that is on its way to it answers when it is there, or after this. */
  arrivalWaitMs: 2_000,
  /** Before a busy source, or a requester that cannot be reached, is asked again. */
  againMs: 50,
  /** Without a byte from anywhere for so long, the tasks that need it fail. */
  patienceMs: 30_000,
  /** The requester's upload to the peer that it is attached to, until that has all of it. */
  putTimeoutMs: 600_000,
  /** Ids of destroyed broadcasts that a peer remembers, so that late tasks are told; the oldest go first. */
  destroyedMax: 10_000,
} as const

export const TASK_OUTPUT = {
  /** Lines that an attempt may print at once… */
  taskBurst: 200,
  /** …and each second from then on; others are counted and left out. */
  taskPerSecond: 100,
  /** The same of all tasks of a job together, at the requester. */
  jobBurst: 1_000,
  jobPerSecond: 500,
  /** Characters of one line; the rest is cut. */
  lineCharsMax: 4_096,
  /** A line waits so long, at most, for others to go with it. */
  gatherMs: 100,
  /** Lines that go together. */
  batchLines: 50,
  /** Lines of one job that wait at a peer for the requester; more are counted and left out. */
  waitingLinesMax: 2_000,
  /** An attempt's end waits so long for its lines to reach the requester: one that is away does not hold up the job. */
  flushMs: 1_000,
} as const

export const ACCUMULATOR = {
  /** What all accumulators of one task come to, as bytes; more fails the task: that is a result, not a counter. */
  updateBytesMax: 16 * 1024 * 1024,
  /** Piece of it in one message. */
  pieceBytes: 256 * 1024,
  /** First wait before it is told again to a requester that could not be reached; doubles… */
  againMs: 100,
  /** …up to this. */
  againMaxMs: 2_000,
  /** Shuffles whose map tasks are remembered as counted; the oldest go first, and would count again. */
  shufflesMax: 10_000,
} as const
