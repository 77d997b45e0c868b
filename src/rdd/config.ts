/** Options and limits of the job engine: unit, reason, and what happens at the bound. */

export const SCHEDULER = {
  /** A requester not heard of for so long has its jobs cancelled and its outputs dropped. Renewed every third of it. */
  leaseMs: 15_000,
  /** What a new leader finds running or sealed waits so long for the requester to send the plan again. */
  orphanMs: 15_000,
  /** Failures by the user's code before the job fails (Spark's `spark.task.maxFailures`). */
  userFailuresMax: 4,
  /** Lost inputs, and outputs that could not be stored while leaders changed, per task before the job fails: an endless loop must end. */
  fetchFailuresMax: 16,
  /** A task that killed so many workers is never tried again. */
  poisonWorkers: 2,
  /**
   * A task whose cached input is kept by a busy peer waits so long, counted from the job's last task that began near its
   * own (as `spark.locality.wait`; shorter, since a worker is free every few milliseconds or the wait is not worth it).
   */
  localityWaitMs: 500,
  /** Of a stage's tasks, done before slow ones are tried a second time elsewhere (Spark's `spark.speculation.quantile`)… */
  speculationQuantile: 0.75,
  /** …when they have run for so many times the median of the others… */
  speculationMultiplier: 2,
  /** …and for so long: a shorter delay is not worth a worker. */
  speculationMinMs: 1_000,
  /** Waiting tasks looked through for one with a place near its input, before any one goes anywhere. */
  lookAheadMax: 512,
  /** A requester is told of progress this often, and nothing of a job that is over sooner. */
  progressEveryMs: 200,
  /** Ended jobs that a leader remembers, so that a plan that comes late does not begin them again; the oldest go first. */
  endedMax: 1_000,
  /** Reports kept of a peer whose inventory is still awaited; later ones are dropped, and their tasks run again. */
  earlyReportsMax: 10_000,
  /** Tasks queued at an executor per worker, at most: hides the way to the leader for tiny tasks. */
  queueDepthMax: 16,
  /** Of tasks as short as the last ones of the session, so many milliseconds are queued at a worker without more ado. */
  queueMs: 10,
} as const

/** What is told and kept of what happens to jobs. */
export const JOB_EVENTS = {
  /** Events of starts and good ends of tasks, for each job and leader; more are counted, and how many is said. */
  taskEventsMax: 20_000,
  /** A requester has results before the leader hears of their tasks: a job that is done waits so long for what they did. */
  lateMs: 500,
  /** Characters of an error in an event; the rest is cut. */
  messageMax: 500,
  /** Events in one message to the requester; older ones are dropped, and can be read from the log. */
  pushedMax: 100,
  /** Bytes of one answer to who reads a log; the rest is asked for again. */
  replyBytesMax: 4 * 1024 * 1024,
  /** How long a leader holds such an answer back when there is nothing new yet. */
  waitMaxMs: 5_000,
  /** A partition with so many times the median of its stage is called skewed… */
  skewTimes: 5,
  /** …in a stage with so many finished tasks: a median of fewer says nothing… */
  skewTasksMin: 4,
  /** …when it has so many records, bytes or ms: less slows nobody down… */
  skewRecordsMin: 10_000,
  skewBytesMin: 1024 * 1024,
  skewTimeMinMs: 1_000,
  /** …and of more than so many, the worst are named. */
  skewReportedMax: 3,
} as const

export const JOBS = {
  /** Classes that may be declared in one context: they travel with every plan. */
  classesMax: 1_000,
  /** Packages that the closures of one job may name; more is refused with the plan. */
  packagesMax: 1_000,
  /** Ended jobs that stay listed; the oldest go first. */
  historyMax: 200,
  /** Starts and ends of jobs in one log entry; more go into the next. */
  changesMax: 64,
  /** A result up to this size travels inside the task's report; a larger one is sealed and pulled. */
  inlineResultBytes: 64 * 1024,
  /** Results that are offered to their requester together. */
  offersMax: 64,
  /** A plan up to this size rides with the first tasks; a larger one is fetched from the leader by its hash. */
  inlinePlanBytes: 64 * 1024,
  /** A plan larger than this is refused: data belongs into files or a broadcast. */
  planBytesMax: 256 * 1024 * 1024,
  /** Partitions of one RDD: a leader keeps some hundred bytes a task, so a plan with more is refused… */
  partitionsMax: 100_000,
  /** …as is one whose RDDs have more together. */
  planPartitionsMax: 1_000_000,
  /** Longest time limit of a task: what timers of Node can count. */
  taskTimeoutMaxMs: 2 ** 31 - 1,
  /** Who asks how a detached job stands may have the answer wait so long for its end; then asks again. */
  standingWaitMs: 10_000,
  /** Bytes of sealed results that a requester pulls ahead of the one it folds. */
  pullAheadBytes: 8 * 1024 * 1024,
} as const

export const DETACHED = {
  /** A result waits so long to be taken, unless the job says otherwise… */
  ttlMs: 86_400_000,
  /** …and at most so long: what nobody takes is not kept for ever. */
  ttlMaxMs: 30 * 86_400_000,
  /** Detached jobs that run or whose results wait; one more is refused (BUSY): each has a record on every peer. */
  jobsMax: 1_000,
} as const
