import { z } from 'zod'

/**
 * What happens to a job, as one stream: one JSON object a line. The leader writes it (`job-tracer.machine.ts`), keeps it on
 * its disk, and whoever wants to see a job reads it: the progress bar, `shoal jobs`, `shoal job`, programs, tests. Fields are
 * described in docs/job-events.md. Readers ignore types and fields that they do not know; a change of what a field means
 * raises `v`.
 */
export const JOB_EVENT_VERSION = 1

const count = z.number().int().nonnegative()
const amount = z.number().nonnegative()

/** Of every event. */
const base = {
  v: z.literal(JOB_EVENT_VERSION),
  jobId: z.string(),
  /** Of the leader that says it: events are ordered by term, then `seq`. Of the requester's own, the last it heard of. */
  term: count,
  /** From 0 for each job and term, without gaps; events that are not kept have that of the last one that is. */
  seq: count,
  /** Wall clock of who says it, in ms since 1970. */
  timeMs: z.number(),
}

const attempt = {
  stage: count,
  partition: count,
  /** From 0, for each term anew. */
  attempt: count,
  /** The term of the leader that began it, where that was an earlier one. */
  attemptTerm: count.exactOptional(),
  /** The executor. */
  peer: z.string(),
}

/** What an attempt that came to a good end did. Bytes and rows as the task counts them, time in ms. */
const taskFigures = z.object({
  durationMs: amount,
  /** Of the thread, while the attempt had it. */
  cpuMs: amount,
  /** Bytes from files. */
  inBytes: amount,
  /** Rows from files, shuffles and memory. */
  inRecords: amount,
  /** Bytes of part files or of the result. */
  outBytes: amount,
  outRecords: amount,
  shuffleReadBytes: amount,
  shuffleWriteBytes: amount,
  /** What was written to disk for want of memory; twice written counts twice. */
  spilledBytes: amount,
  spilledRecords: amount,
  /** The most that tables and buffers held at once. */
  peakBytes: amount,
  cacheHits: amount,
  /** Values of the largest group, and its key as text where it is known. */
  largestGroup: amount,
  largestKey: z.string().exactOptional(),
})
export type TaskFigures = z.infer<typeof taskFigures>

/** Sums over the finished tasks of a stage. */
const stageTotals = taskFigures
  .pick({
    inBytes: true,
    inRecords: true,
    outBytes: true,
    outRecords: true,
    shuffleReadBytes: true,
    shuffleWriteBytes: true,
    spilledBytes: true,
    spilledRecords: true,
    cacheHits: true,
    cpuMs: true,
  })
  .extend({
    /** Of the task with the most. */
    peakBytes: amount,
    taskMsMedian: amount,
    taskMsMax: amount,
  })
export type StageTotals = z.infer<typeof stageTotals>

/** A partition that is far above the median of its stage. */
const skew = z.object({
  partition: count,
  /** What there is too much of. */
  of: z.enum(['records', 'bytes', 'time']),
  value: amount,
  median: amount,
  /** value / median, the median taken as 1 at least. */
  times: amount,
  largestGroup: amount,
  largestKey: z.string().exactOptional(),
})
export type Skew = z.infer<typeof skew>

/** An error for people who look on; the whole of it goes to who called the action. */
const failure = z.object({ code: z.string(), message: z.string() })

const progress = z.object({
  stages: z.array(z.object({ id: count, tasks: count, done: count, running: count })),
  started: count,
  retried: count,
  executors: count,
})

const plannedStage = z.object({
  id: count,
  /** Its operators, source first: `textFile → flatMap → map`. */
  label: z.string(),
  tasks: count,
  /** Stages whose map outputs it reads. */
  parents: z.array(count),
  sink: z.enum(['shuffle', 'result']),
  /** Tasks whose input is kept in memory somewhere, as far as the leader knows. */
  kept: count,
})
export type PlannedStage = z.infer<typeof plannedStage>

export const jobEventSchema = z.discriminatedUnion('type', [
  // Said by the requester to those who listen in its process, and kept nowhere.
  z.object({ ...base, type: z.literal('submitted'), name: z.string() }),
  z.object({
    ...base,
    type: z.literal('settled'),
    name: z.string(),
    error: failure.exactOptional(),
    progress: progress.exactOptional(),
  }),
  /** Another leader took over; the job was told to it. */
  z.object({ ...base, type: z.literal('leader-changed'), name: z.string() }),
  /** The peer that one was attached to is gone; another one passes on the results. */
  z.object({ ...base, type: z.literal('reattached'), name: z.string() }),

  // Said by the leader to the requester every now and then, and kept nowhere.
  z.object({ ...base, type: z.literal('progress'), name: z.string(), progress }),

  // Said and kept by the leader.
  z.object({
    ...base,
    type: z.literal('job-started'),
    name: z.string(),
    leader: z.string(),
    requester: z.string(),
    action: z.string(),
    /** It began under an earlier leader, or this one was told of it again. */
    resumed: z.boolean(),
    stages: z.array(plannedStage),
  }),
  z.object({
    ...base,
    type: z.literal('job-ended'),
    status: z.enum(['done', 'failed', 'cancelled']),
    durationMs: amount,
    /** Attempts begun under this leader, and those beyond the first of their task. */
    started: count,
    retried: count,
    error: failure.exactOptional(),
  }),
  z.object({
    ...base,
    type: z.literal('stage-started'),
    stage: count,
    tasks: count,
    /** It was complete once: outputs of it were lost or came out different. */
    again: z.boolean(),
  }),
  z.object({
    ...base,
    type: z.literal('stage-ended'),
    stage: count,
    /**
     * `done`: all its tasks are. `skipped`: nothing ran, since its map outputs were there or nobody needed them. `enough`: the
     * job was done before its last tasks. `stopped`: the job failed or was cancelled.
     */
    outcome: z.enum(['done', 'skipped', 'enough', 'stopped']),
    durationMs: amount,
    finished: count,
    totals: stageTotals.exactOptional(),
    skew: z.array(skew).exactOptional(),
  }),
  z.object({ ...base, ...attempt, type: z.literal('task-started'), speculative: z.boolean() }),
  z.object({
    ...base,
    ...attempt,
    type: z.literal('task-ended'),
    /**
     * `cancelled`: another attempt was first, or the job was over. `lost`: its executor is. `fetch-failed`: an input was lost, and
     * is made again. `worker-died`: it took its thread with it.
     */
    outcome: z.enum(['done', 'failed', 'fetch-failed', 'worker-died', 'cancelled', 'lost']),
    /** From handing it out to hearing of its end: includes waiting at the executor. Zero of what an earlier leader began. */
    leaderMs: amount,
    figures: taskFigures.exactOptional(),
    code: z.string().exactOptional(),
    message: z.string().exactOptional(),
  }),
  /** A second attempt beside one that takes long. */
  z.object({ ...base, ...attempt, type: z.literal('speculated'), besides: z.string(), ranMs: amount }),
  z.object({
    ...base,
    ...attempt,
    type: z.literal('fetch-failed'),
    /** The map output that could not be had: of which shuffle node, which partition, from whom. */
    node: count,
    map: count,
    from: z.string(),
    code: z.string(),
  }),
  /** The requester could not fetch a result where it was sealed: it is made again. */
  z.object({ ...base, type: z.literal('result-lost'), partition: count, peer: z.string() }),
  /** The attempts of this job that ran there are lost. */
  z.object({ ...base, type: z.literal('executor-lost'), peer: z.string(), attempts: count }),
  z.object({ ...base, type: z.literal('executor-joined'), peer: z.string(), workers: count }),
  /** A map output came out different when it was made again: this stage, which reads it, starts again whole. */
  z.object({ ...base, type: z.literal('nondeterministic'), stage: count, shuffle: z.string() }),
  /** Lines that the attempt wrote with console.log and the like, and those that were not shown. */
  z.object({ ...base, ...attempt, type: z.literal('task-output'), lines: count, suppressed: count }),
  /** So many events of tasks were not kept from here on: the job has more than its log takes. */
  z.object({ ...base, type: z.literal('events-dropped'), events: count }),
])

export type JobEvent = z.infer<typeof jobEventSchema>
export type JobEventOf<Type extends JobEvent['type']> = Extract<JobEvent, { type: Type }>

/** The event, when it is one that this version knows. */
export function asJobEvent(value: unknown): JobEvent | undefined {
  const parsed = jobEventSchema.safeParse(value)
  return parsed.success ? parsed.data : undefined
}

/** Events of JSON lines; what is no event, such as a line cut short by a crash, is left out. */
export function parseJobEvents(text: string): JobEvent[] {
  const events: JobEvent[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      continue
    }
    const event = asJobEvent(value)
    if (event !== undefined) events.push(event)
  }
  return events
}

/** In the order of what happened: leaders' terms, and within each the order in which it said them. */
export function compareJobEvents(left: JobEvent, right: JobEvent): number {
  return left.term - right.term || left.seq - right.seq
}
