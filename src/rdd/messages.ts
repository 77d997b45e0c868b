import { z } from 'zod'
import type { ErrorCode, WireError } from '../base/errors.ts'
import { message } from '../base/transport.ts'
import { DETACHED, JOB_EVENTS, JOBS } from './config.ts'
import type { DetachedTerms } from './detached-job.ts'
import type { JobsCommand } from './jobs.machine.ts'
import { broadcastRef } from './shared-messages.ts'
import { packageNeeds } from './plan-codec.ts'

/**
 * What requesters, leader and executors say to one another about jobs. Requester and leader speak through the peer that
 * the requester is attached to (`node/relay.ts`); executors and leader speak directly.
 */

/** Names and ids in the replicated list of jobs, and why one failed: kept by every peer, so kept short. */
export const NAME_MAX = 256
export const REASON_MAX = 2_000

/** Of the names of part files. */
const SUFFIX_MAX = 64
const PATH_MAX = 4_096

const count = z.number().int().nonnegative()
const bytes = z.custom<Uint8Array>(value => value instanceof Uint8Array)

const wireError: z.ZodType<WireError> = z.object({
  code: z.custom<ErrorCode>(value => typeof value === 'string'),
  message: z.string(),
  details: z.record(z.string(), z.unknown()),
  get cause(): z.ZodExactOptional<z.ZodType<WireError>> {
    return wireError.exactOptional()
  },
})

const taskId = z.object({ stage: count, partition: count, attempt: count, term: count })

const stage = z.object({
  id: count,
  root: count,
  sink: z.union([
    z.object({ kind: z.literal('shuffle'), node: count }),
    z.object({ kind: z.literal('result') }),
  ]),
  partitions: z.array(count),
  parents: z.array(count),
  reads: z.array(count),
})

/** As `packLocations` makes it. */
const packedLocations = z.object({
  shuffle: z.string(),
  node: count,
  /** Each holder once. */
  holders: z.array(z.string()).max(65_536),
  /** Holder of each map partition: its place in `holders`, two bytes, the lower one first. */
  at: bytes,
})

const requester = z.object({ client: z.string(), relay: z.string(), epoch: count })

const metrics = z.object({
  recordsRead: z.number(),
  bytesRead: z.number(),
  bytesFetched: z.number(),
  bytesWritten: z.number(),
  durationMs: z.number(),
  cacheHits: z.number(),
  spilledBytes: z.number(),
  spilledRecords: z.number(),
  peakBytes: z.number(),
  largestGroup: z.number(),
  largestKey: z.string().max(JOB_EVENTS.messageMax).exactOptional(),
  recordsWritten: z.number().exactOptional(),
  cpuMs: z.number().exactOptional(),
  outputLines: count.exactOptional(),
  outputSuppressed: count.exactOptional(),
})

const endedOutcome = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('map-output'),
    shuffle: z.string(),
    checksum: count,
    sizeBytes: count,
    metrics,
  }),
  z.object({
    type: z.literal('result'),
    checksum: count,
    sizeBytes: count,
    rows: count,
    accepted: z.boolean(),
    metrics,
  }),
  z.object({
    type: z.literal('failed'),
    error: wireError,
    fetch: z.object({ node: count, map: count, peer: z.string() }).exactOptional(),
  }),
  z.object({ type: z.literal('worker-died'), error: wireError }),
])

const nothing: z.ZodType<object> = z.object({})

// Requester → leader

/** Starts a job, or tells a new leader of it. The plan is the body. Idempotent by job id. */
export const submitJob = message({
  name: 'rdd.job.submit',
  from: 'everyone',
  bodyClass: 'ingress',
  request: z.object({
    jobId: z.string(),
    name: z.string(),
    session: z.string(),
    planHash: z.string(),
    requester,
    accepted: z.array(count),
    /** Those of the plan. */
    packages: packageNeeds.exactOptional(),
  }),
  reply: z.object({
    term: count,
    /** Of packages in other versions than the closures were captured with. */
    warnings: z.array(z.string()).exactOptional(),
  }),
})

export const cancelJob = message({
  name: 'rdd.job.cancel',
  from: 'everyone',
  request: z.object({ jobId: z.string(), reason: z.string() }),
  reply: nothing,
})

/** A sealed result could not be fetched from its executor: it is to be made again. Said until another is offered. */
export const resultLost = message({
  name: 'rdd.result.lost',
  from: 'everyone',
  request: z.object({ jobId: z.string(), partition: count, executor: z.string() }),
  reply: nothing,
})

/** The requester has all it wants of the job. */
export const closeJob = message({
  name: 'rdd.job.close',
  from: 'everyone',
  request: z.object({ jobId: z.string() }),
  /** What it has not been told of yet, of a job that it was told of or that was skewed. */
  reply: z.object({ events: z.array(z.unknown()).max(JOB_EVENTS.pushedMax).exactOptional() }),
})

/** Renews the lease of a session; answers which of its open jobs this leader does not know. */
export const renewLease = message({
  name: 'rdd.session.lease',
  from: 'everyone',
  /** The open jobs, and how many jobs the session had begun when that list was made: it says nothing of later ones. */
  request: z.object({ session: z.string(), jobs: z.array(z.string()), begun: count }),
  reply: z.object({ unknown: z.array(z.string()) }),
})

/** What an executor keeps of a partition of a cached RDD now. A hint: what is not so is found out when it is read. */
const keptChange = z.object({
  fingerprint: z.string(),
  partition: count,
  session: z.string(),
  memoryBytes: count,
  diskBytes: count,
  /** It is kept there no more. */
  isGone: z.boolean(),
})
export type KeptChange = z.infer<typeof keptChange>

/** Cached partitions that the requester will not ask for again. A hint: what is not heard goes with the session. */
export const unpersist = message({
  name: 'rdd.cache.unpersist',
  from: 'everyone',
  request: z.object({ fingerprints: z.array(z.string()) }),
  reply: nothing,
})

/** What is kept of cached RDDs, as far as the leader has heard; those asked for, or (asked for none) all. */
export const listKept = message({
  name: 'rdd.cache.list',
  from: 'everyone',
  request: z.object({ fingerprints: z.array(z.string()).exactOptional() }),
  reply: z.object({
    kept: z.array(
      z.object({
        fingerprint: z.string(),
        session: z.string(),
        /** As the user knows it; empty when this leader was told of no job of it. */
        label: z.string(),
        partitions: count,
        copies: count,
        memoryBytes: count,
        diskBytes: count,
      }),
    ),
  }),
})

// Leader → requester

export const jobUpdate = message({
  name: 'rdd.job.update',
  from: 'peers',
  request: z.object({
    jobId: z.string(),
    epoch: count,
    /** Of the leader that says so: one that was deposed without knowing it yet is not believed. */
    term: count,
    state: z.enum(['running', 'done', 'failed']),
    /** What has happened since the last one (`JobEvent`): those of an unknown type are passed over. */
    events: z.array(z.unknown()).max(JOB_EVENTS.pushedMax).exactOptional(),
    error: wireError.exactOptional(),
  }),
  reply: nothing,
})

// Leader ↔ executor

export const runTasks = message({
  name: 'rdd.task.run',
  from: 'peers',
  request: z.object({
    term: count,
    jobId: z.string(),
    session: z.string(),
    planHash: z.string(),
    /** Rides along the first time when it is small. */
    plan: bytes.exactOptional(),
    requester,
    /** Directory that the result tasks write their part files below, when the action saves. */
    save: z
      .object({
        path: z.string(),
        format: z.enum(['lines', 'csv', 'binary']),
        /** Copies wanted of each part, where it is said. */
        replication: count.exactOptional(),
        /** Each part becomes a file of that directory as soon as it is complete, and counts from then on, whoever dies. */
        kept: z.object({ suffix: z.string().max(SUFFIX_MAX) }).exactOptional(),
      })
      .exactOptional(),
    /** Each task may run so long. */
    timeoutMs: z.number().int().min(1).max(JOBS.taskTimeoutMaxMs).exactOptional(),
    /** Name of the map outputs that the tasks make: `<session>/<fingerprint>`. */
    output: z.string().exactOptional(),
    /** Packages that the plan's closures name, checked before the first task of the job. */
    packages: packageNeeds.exactOptional(),
    stage,
    /** That the plan refers to: tasks begin when their peer has them. */
    broadcasts: z.array(broadcastRef).exactOptional(),
    shuffles: z.array(packedLocations),
    tasks: z.array(z.object({ id: taskId, holders: z.record(z.string(), z.array(z.string())) })),
  }),
  reply: nothing,
})

/** Asked of every executor before a job whose closures name packages begins. */
export const checkPackages = message({
  name: 'rdd.job.packages',
  from: 'peers',
  request: z.object({ packages: packageNeeds }),
  reply: z.object({
    /** The peer's, for people. */
    name: z.string(),
    /** Where it looks for packages. */
    directory: z.string(),
    missing: z.array(
      z.object({ name: z.string(), wanted: z.string().exactOptional(), have: z.string().exactOptional() }),
    ),
    /** Of other versions that ought to do. */
    warnings: z.array(z.string()),
  }),
})

export const fetchPlan = message({
  name: 'rdd.job.plan',
  from: 'peers',
  request: z.object({ jobId: z.string(), planHash: z.string() }),
  reply: nothing,
})

export const cancelTasks = message({
  name: 'rdd.task.cancel',
  from: 'peers',
  request: z.object({ term: count, jobId: z.string(), ids: z.array(taskId) }),
  reply: nothing,
})

export const tasksEnded = message({
  name: 'rdd.task.ended',
  from: 'peers',
  request: z.object({
    /** Highest term whose leader this executor has heard: a leader of an earlier one has no use for the report. */
    term: count,
    /** In the order in which they ended. */
    tasks: z.array(z.object({ jobId: z.string(), id: taskId, outcome: endedOutcome })),
    /** What has changed among the partitions that this peer keeps. */
    kept: z.array(keptChange),
  }),
  reply: nothing,
})

/** Changes among the partitions of cached RDDs that this peer keeps, said before the result of the task that computed them. */
export const partitionsKept = message({
  name: 'rdd.cache.kept',
  from: 'peers',
  request: z.object({ term: count, kept: z.array(keptChange) }),
  reply: nothing,
})

/** The requester of the job is behind another peer now: results that it did not take are to be offered there. */
export const moveRequester = message({
  name: 'rdd.job.requester',
  from: 'peers',
  request: z.object({ term: count, jobId: z.string(), requester }),
  reply: nothing,
})

/** The requester has taken a sealed result. */
export const resultTaken = message({
  name: 'rdd.task.taken',
  from: 'peers',
  request: z.object({ term: count, jobId: z.string(), partition: count }),
  reply: nothing,
})

export const forgetJob = message({
  name: 'rdd.job.forget',
  from: 'peers',
  request: z.object({ term: count, jobIds: z.array(z.string()) }),
  reply: nothing,
})

export const forgetSession = message({
  name: 'rdd.session.forget',
  from: 'peers',
  request: z.object({ term: count, session: z.string() }),
  reply: nothing,
})

export const dropCached = message({
  name: 'rdd.cache.drop',
  from: 'peers',
  request: z.object({ term: count, fingerprints: z.array(z.string()) }),
  reply: nothing,
})

/** What an executor has. The lists are the body, packed: they outgrow a head. */
export const inventory = message({
  name: 'rdd.executor.inventory',
  from: 'peers',
  request: z.object({ term: count }),
  reply: z.object({ workers: count }),
})

export const inventoryBody = z.object({
  sessions: z.array(z.string()),
  kept: z.array(keptChange),
  running: z.array(z.object({ jobId: z.string(), id: taskId })),
  outputs: z.array(
    z.object({
      jobId: z.string(),
      id: taskId,
      shuffle: z.object({ key: z.string(), map: count }).exactOptional(),
      checksum: count,
      sizeBytes: count,
    }),
  ),
})
export type Inventory = z.infer<typeof inventoryBody>

// Executor → executor, requester ↔ executor

/** Buckets of one reduce partition, in the order of `maps`: body of `[u32 map][u32 length][bytes]`. */
export const fetchBuckets = message({
  name: 'rdd.shuffle.fetch',
  from: 'peers',
  request: z.object({
    shuffle: z.string(),
    reduce: count,
    maps: z.array(count),
    /** The asker is on another host: the body may be one zstd stream. */
    mayPack: z.boolean().exactOptional(),
  }),
  /** `packed`: the body is. */
  reply: z.object({ packed: z.boolean() }),
})

/** A kept partition: body of its chunks, each with its checksum. */
export const fetchKept = message({
  name: 'rdd.cache.fetch',
  from: 'peers',
  request: z.object({ fingerprint: z.string(), partition: count }),
  reply: z.object({ found: z.boolean() }),
})

/** Another copy of a partition that the sender keeps: the body is as above. Refused (`kept: false`) where there is no room. */
export const copyKept = message({
  name: 'rdd.cache.copy',
  from: 'peers',
  bodyClass: 'replica',
  request: z.object({
    fingerprint: z.string(),
    partition: count,
    session: z.string(),
    level: z.object({
      memory: z.boolean(),
      disk: z.boolean(),
      copies: count,
      pinned: z.literal(true).exactOptional(),
    }),
    sizeBytes: count,
  }),
  reply: z.object({ kept: z.boolean() }),
})

/** One partition's result: whole when small, else it is sealed at the executor. */
const resultOffer = z.object({
  id: taskId,
  checksum: count,
  sizeBytes: count,
  rows: count,
  /** So many of the last bytes are what the task added to accumulators. */
  updateBytes: count.exactOptional(),
  inline: bytes.exactOptional(),
})

export type ResultOffer = z.infer<typeof resultOffer>

/** Results of a job that ended at about the same time. The requester accepts one attempt of each partition. */
export const resultReady = message({
  name: 'rdd.result.ready',
  from: 'peers',
  request: z.object({
    jobId: z.string(),
    epoch: count,
    executor: z.string(),
    results: z.array(resultOffer).min(1).max(JOBS.offersMax),
  }),
  /** For each in turn: the executor may drop it. */
  reply: z.object({ taken: z.array(z.boolean()).max(JOBS.offersMax) }),
})

export const fetchResult = message({
  name: 'rdd.result.fetch',
  from: 'everyone',
  bodyClass: 'result',
  request: z.object({ jobId: z.string(), partition: count }),
  reply: z.object({ sizeBytes: count, checksum: count }),
})

/** The requester has a sealed result whole and verified: the executor drops it and tells the leader. */
export const acceptResult = message({
  name: 'rdd.result.accept',
  from: 'everyone',
  request: z.object({ jobId: z.string(), partition: count }),
  reply: nothing,
})

// Detached jobs

export const detachedTerms: z.ZodType<DetachedTerms> = z.object({
  partitions: count.max(JOBS.partitionsMax),
  suffix: z.string().max(SUFFIX_MAX),
  output: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('files'), path: z.string().max(PATH_MAX), overwrite: z.boolean() }),
    z.object({
      kind: z.literal('result'),
      fold: z.enum(['rows', 'row', 'sum']),
      ttlMs: z.number().int().min(1).max(DETACHED.ttlMaxMs),
    }),
  ]),
})

/** Hands a job over to the mesh: its plan is a file of it by now. Answered when the log has it. Idempotent by job id. */
export const detachJob = message({
  name: 'rdd.job.detach',
  from: 'everyone',
  request: z.object({
    jobId: z.string().max(NAME_MAX),
    name: z.string(),
    planHash: z.string().max(NAME_MAX),
    requester,
    detached: detachedTerms,
  }),
  reply: nothing,
})

/** The result of a detached job has been read whole: it may go. */
export const takeResult = message({
  name: 'rdd.job.taken',
  from: 'everyone',
  request: z.object({ jobId: z.string() }),
  reply: nothing,
})

/** How a detached job stands, asked of any peer. It is asked to wait until the job has ended, so that nobody asks all the time. */
export const detachedStatus = message({
  name: 'rdd.job.standing',
  from: 'everyone',
  request: z.object({ jobId: z.string(), waitMs: count.max(JOBS.standingWaitMs) }),
  reply: z.object({
    jobId: z.string(),
    name: z.string(),
    status: z.enum(['running', 'done', 'failed', 'cancelled']),
    startedMs: z.number(),
    endedMs: z.number().exactOptional(),
    reason: z.string().exactOptional(),
    code: z.custom<ErrorCode>(value => typeof value === 'string').exactOptional(),
    keptUntilMs: z.number().exactOptional(),
    detached: detachedTerms,
    partsDone: count,
  }),
})

// Requester of a job → the replicated log, through the leader

const jobStart = z.object({
  type: z.literal('job-start'),
  jobId: z.string().max(NAME_MAX),
  name: z.string().max(NAME_MAX),
  requester: z.string().max(NAME_MAX),
  relay: z.string().max(NAME_MAX),
  planHash: z.string().max(NAME_MAX),
  agoMs: count,
})

const jobEnd = z.object({
  type: z.literal('job-end'),
  jobId: z.string().max(NAME_MAX),
  status: z.enum(['done', 'failed', 'cancelled']),
  reason: z.string().max(REASON_MAX).exactOptional(),
  code: z.custom<ErrorCode>(value => typeof value === 'string' && value.length <= NAME_MAX).exactOptional(),
  tasks: count.exactOptional(),
  retried: count.exactOptional(),
})

const resultGone = z.object({
  type: z.literal('result-gone'),
  jobId: z.string().max(NAME_MAX),
  taken: z.boolean(),
})

export const jobsCommand: z.ZodType<JobsCommand> = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('jobs'),
    changes: z.array(z.discriminatedUnion('type', [jobStart, jobEnd, resultGone])).max(JOBS.changesMax),
  }),
  z.object({
    type: z.literal('detach'),
    job: z.object({
      jobId: z.string().max(NAME_MAX),
      name: z.string().max(NAME_MAX),
      requester: z.string().max(NAME_MAX),
      relay: z.string().max(NAME_MAX),
      planHash: z.string().max(NAME_MAX),
      detached: detachedTerms,
    }),
  }),
])
