/** Limits and timers of the process: unit, reason, what happens at the bound. */

export const EXECUTOR = {
  /** From asking a task to stop until its thread is ended: long enough for a slice, short for a person. */
  cancelGraceMs: 200,
  /** Pieces of a bucket or result on the wire. */
  chunkBytes: 256 * 1024,
  /** The leader's answer to what is kept, before a result goes on its way all the same. */
  keptTimeoutMs: 1_000,
  /** Another peer's word that it has a kept partition and begins to send it, before the next one is asked or it is computed. */
  keptFetchTimeoutMs: 5_000,
  /** A copy of a kept partition, until the other peer has all of it: some hundred megabytes over a slow network. */
  copyTimeoutMs: 60_000,
  /** A result waits so long for others of its job that are computed beside it, so that one message offers all… */
  offerGatherMs: 2,
  /** …up to so many bytes: well below what a message head may have. */
  offerBytesMax: 256 * 1024,
  /** First wait before a result is offered again to a requester that could not be reached; doubles… */
  offerAgainMs: 200,
  /** …up to this. */
  offerAgainMaxMs: 5_000,
  /** Between tries to report an ended task while no leader answers… */
  reportAgainMs: 250,
  /** …and how many: 30 s, after which a leader has long asked for the inventory. */
  reportTriesMax: 120,
  /** Reports that go together: well below what a message head may have. */
  reportBytesMax: 256 * 1024,
  /** Each text of a reported error; the rest is cut. A report must fit into one message head, causes and all. */
  errorCharsMax: 8_192,
  /** Each list in the details of a reported error: peers, addresses… */
  errorItemsMax: 32,
  /** …and each text in it. */
  errorItemCharsMax: 256,
} as const

export const LEADER_CALL = {
  /** Between tries, jittered, doubling from the first to the second. */
  retryMinMs: 50,
  retryMaxMs: 1_000,
  /** A peer looks for a leader for so long before NO_QUORUM is its answer: the caller should know soon. */
  quorumWaitMs: 3_000,
  /** The same while a file is being stored: giving up would throw away what was sent. */
  storingWaitMs: 10_000,
  /** One try, until the leader's answer is there. */
  tryTimeoutMs: 10_000,
} as const

export const QUORUM_PATIENCE = {
  /** A client asks again for so long after NO_QUORUM: an election takes a second or two, a busy machine longer. */
  waitMs: 10_000,
  pauseMs: 100,
} as const

export const JOB_CLIENT = {
  /** A program that ends says which of its jobs are over; one whose mesh is gone does not wait longer than this. */
  closeTimeoutMs: 1_000,
} as const

export const JOB_LEADER = {
  /** Leases, executors that joined late. */
  tickMs: 500,
  /** A tick that late means that this process stood still; less is a busy machine. */
  stallMs: 2_000,
  /** How long an executor may take to say what it has. */
  inventoryTimeoutMs: 2_000,
  /** How long a new leader holds jobs back for these answers: a peer that stands still must not hold up the others. */
  inventoryWaitMs: 500,
  /** What one executor may list: some hundred bytes an output. */
  inventoryBytesMax: 64 * 1024 * 1024,
  /** Starts and ends of jobs are gathered for so long before they go to the log, and what executors are to forget. */
  gatherMs: 250,
  /** How long an executor may take to say whether it has the packages of a job; one that does not say it is asked again. */
  packagesTimeoutMs: 2_000,
  /** Handing tasks over; an executor that takes longer is treated as gone. */
  runTimeoutMs: 10_000,
} as const

/** Files of the mesh that last as long as a session: local files that datasets read, and elements of streams. */
export const SESSION_FILES = {
  /** One folder below it for each session. */
  folder: '/.sessions',
  /** Copies: one peer may die; after that the session's datasets fail, and its process has the originals. */
  replication: 2,
  /** Of local files that one session stores; more is refused with advice: what is read again and again belongs into the mesh. */
  localBytesMax: 64 * 2 ** 30,
  /** How long the end of a session waits until they are removed; the leader's sweep removes them otherwise. */
  closeTimeoutMs: 2_000,
  /** How often a leader looks for folders of sessions that it does not know… */
  sweepEveryMs: 30_000,
  /** …and removes them after so many looks: a session must be given the time to renew its lease with a new leader. */
  sweepsMin: 3,
} as const

/** What a leader keeps on its disk of what happened to jobs. */
export const EVENT_LOG = {
  /** Events are gathered for so long, those of a job's beginning twice that; what a killed leader had not yet written is lost. */
  writeEveryMs: 250,
  /** Events made to text at once. */
  writeEventsMax: 1_000,
  /** Latest events of a running job that are kept in memory as well, for those who follow it. */
  recentMax: 1_000,
  /** A job with so many events, over before they are written, goes into a file with others… */
  shortEventsMax: 200,
  /** …until that has so many bytes… */
  sharedBytes: 1024 * 1024,
  /** …and of those files the latest are kept: whoever asks for a job may have to read them all. */
  sharedFilesMax: 16,
  /** A log of so many bytes is packed with zstd when its job ends. */
  packBytesMin: 64 * 1024,
  /** Files, and their bytes together; the oldest are removed. */
  filesMax: 500,
  bytesMax: 256 * 1024 * 1024,
} as const

export const EVENT_READER = {
  /** Peers asked for their part of a job's events: the leader, the voters, then others. Few ever lead. */
  peersMax: 16,
  /** Between two looks at who leads, while nobody does or the leader does not answer. */
  pauseMs: 250,
} as const

export const MESH_LOG = {
  /** Until the leader has told why it leads; without its answer there is only what the asked peer knows. */
  whyTimeoutMs: 2_000,
  /** From the leader's answer until the entry is applied here too: a learner may be catching up. */
  applyTimeoutMs: 10_000,
} as const

export const REPORT = {
  /** A peer that does not say how it is within this time counts as unheard. */
  peerTimeoutMs: 2_000,
  /** Peers asked at the same time. */
  parallel: 32,
  /** Peers in one answer: about half a kilobyte each. */
  pagePeers: 200,
  /** Processor time is measured from one or two of these ago until now. */
  cpuWindowMs: 5_000,
} as const

export const MEMBERS_KEEPER = {
  /** How often the leader compares gossip's view with the log's. */
  intervalMs: 250,
  /** Between tries of a joining peer to be admitted; doubles up to the second. */
  joinRetryMinMs: 250,
  joinRetryMaxMs: 5_000,
} as const

export const PEER = {
  listen: ['/ip4/127.0.0.1/tcp/0'],
  /** How often a peer looks whether its data directory is still the one that it opened. */
  directoryCheckMs: 2_000,
  /** Sealed outputs in memory before the oldest go to disk. */
  outputBytes: 128 * 1024 * 1024,
  /** Cached partitions. */
  cacheBytes: 256 * 1024 * 1024,
  /** The same on disk: those for which there is no memory, and those that are to be on disk. */
  cacheDiskBytes: 8 * 1024 * 1024 * 1024,
  /** Broadcasts, as bytes; the least recently used beyond it are on disk… */
  broadcastBytes: 128 * 1024 * 1024,
  /** …and with a memory budget of the peer, this part of it. */
  memoryForBroadcasts: 8,
  /** What one task may hold in tables and buffers; what is more goes to disk. */
  taskBytes: 512 * 1024 * 1024,
  /** All tasks of a peer may hold the memory of the machine divided by this: several peers may share a machine. */
  tasksMemoryDivisor: 4,
  /** Heap of a worker thread: above what a task may hold, for what the user's code holds. */
  oldSpaceMb: 1024,
  /** The least that a peer can be told to live with, besides what an idle one takes: a map task may need it alone. */
  memoryBytesMin: 64 * 1024 * 1024,
  /** Of a peer's memory, where one number is given, all tasks get this fraction (1 ÷ n)… */
  memoryForTasks: 3,
  /** …cached partitions this… */
  memoryForCache: 4,
  /** …and sealed outputs this; the rest is for garbage and for bytes on their way. */
  memoryForOutputs: 8,
  /** Heap of a worker for each byte that its task may hold by estimate; estimates are right within about a quarter… */
  heapPerTaskByte: 1.25,
  /** …and so many MiB beside, for user code. */
  heapFreeMb: 96,
  /** A saved part waits so long, at most, for the rest of its dataset. */
  partLeaseMs: 600_000,
  /** After saying good-bye, so that the word gets round. */
  leaveLingerMs: 500,
  /** Between two looks of a draining peer at what still keeps it… */
  drainLookMs: 500,
  /** …and how long one may take. */
  drainViewMs: 30_000,
} as const

export const DETACHED_KEEPER = {
  /** Sessions of detached jobs have no client: a third of the lease, as clients do. */
  renewEveryMs: 5_000,
  /** One thing that is to be done for a job: reading its plan from slow disks is the longest. */
  dutyTimeoutMs: 60_000,
  /** Before it is tried again. */
  againMs: 500,
  /** The same for a result whose time is over by wall clock, but perhaps not in log time. */
  expireAgainMs: 60_000,
  /** A job's directory that the log knows no job of: its client may be about to hand it over, for so long. */
  orphanMs: 600_000,
} as const

export const DETACHED_CLIENT = {
  /** Beyond what the peer was asked to wait, for an answer. */
  answerTimeoutMs: 30_000,
  /** A question whose peer was lost is asked so often, at any other peer… */
  triesMax: 12,
  /** …after a wait that doubles, up to the second: half a minute in all. */
  againMs: 50,
  againMaxMs: 5_000,
} as const
