import { invariant, type WireError } from '../base/errors.ts'
import { JOB_EVENTS } from './config.ts'
import {
  JOB_EVENT_VERSION,
  type JobEvent,
  type JobEventOf,
  type PlannedStage,
  type TaskFigures,
} from './job-event.ts'
import type { EndedOutcome, SchedulerEffect, SchedulerEvent } from './scheduler-types.ts'
import { StageFigures } from './stage-figures.ts'
import { attemptKey, type TaskId } from './task.ts'

/** What the scheduler does not know of a job, but whoever looks on wants to. */
export interface AnnouncedJob {
  jobId: string
  name: string
  /** Peer ids. */
  leader: string
  requester: string
  action: string
  resumed: boolean
  stages: PlannedStage[]
}

export interface TraceTime {
  /** The clock of the scheduler: for durations. */
  nowMs: number
  /** The wall clock: for people. */
  epochMs: number
}

interface Attempt {
  id: TaskId
  peer: string
  startedMs: number
}

interface TracedStage {
  readonly plan: PlannedStage
  state: 'waiting' | 'running' | 'ended'
  startedMs: number
  /** Attempts under way. */
  running: number
  figures: StageFigures
}

interface TracedJob {
  readonly jobId: string
  readonly announced: AnnouncedJob
  readonly startedMs: number
  readonly stages: readonly TracedStage[]
  /** Task → its attempts under way, mostly one. */
  readonly running: Map<number, Attempt[]>
  /** Peers that were given something. */
  readonly peers: Set<string>
  /** Attempts of earlier leaders whose end was told, so that it is told once. */
  readonly told: Set<string>
  /** Tasks that have had an attempt under this leader. */
  readonly begun: Set<number>
  /** Since when it is done: what its last attempts did may be reported a moment later. */
  doneMs: number | undefined
  /** Its requester has all it wants of it. */
  isClosed: boolean
  isForgotten: boolean
  ended: boolean
  started: number
  retried: number
  seq: number
  /** Events of tasks that are kept, and those left out since that was last said. */
  taskEvents: number
  dropped: number
}

type Ended = JobEventOf<'task-ended'>
/** An event as a job's own code makes it. */
type Unstamped = JobEvent extends infer Event
  ? Event extends JobEvent
    ? Omit<Event, 'v' | 'jobId' | 'term' | 'seq' | 'timeMs'>
    : never
  : never

/**
 * Tells what happens to jobs, from what the scheduler was told and what it wanted done. Pure, and beside the scheduler, which
 * goes on the same whether or not anybody looks. One for each term, like the scheduler: what an earlier leader's events
 * said is in that one's log.
 *
 * Reviewer's checklist:
 * - `#announced`: removed by the job-submitted event that follows in the same step.
 * - `#jobs`: removed by the forget-job effect, which ends every job; of one that is done, once its last attempts were heard of.
 * - in a job, `told` and `begun` are bounded by its tasks, `running` by what runs.
 */
export class JobTracer {
  readonly #term: number
  readonly #announced = new Map<string, AnnouncedJob>()
  readonly #jobs = new Map<string, TracedJob>()
  #events: JobEvent[] = []
  /** Stages of which the last task may have ended in this step. */
  #maybeFinished: { job: TracedJob; stage: TracedStage }[] = []
  #nowMs = 0
  #epochMs = 0

  constructor(options: { term: number }) {
    this.#term = options.term
  }

  /** The job that the next `job-submitted` is about. */
  announce(job: AnnouncedJob): void {
    this.#announced.set(job.jobId, job)
  }

  /** What this step of the scheduler means, in order. */
  trace(
    events: readonly SchedulerEvent[],
    effects: readonly SchedulerEffect[],
    { nowMs, epochMs }: TraceTime,
  ): JobEvent[] {
    this.#events = []
    this.#nowMs = nowMs
    this.#epochMs = Math.round(epochMs)
    for (const event of events) this.#onEvent(event, effects)
    for (const effect of effects) if (effect.type === 'job-done') this.#onDone(effect.jobId, events)
    for (const effect of effects) {
      if (effect.type === 'run-tasks') this.#onRunTasks(effect)
      if (effect.type === 'cancel-tasks') this.#onCancelTasks(effect)
      if (effect.type === 'nondeterministic') {
        this.#onNondeterministic(effect)
      }
    }
    this.#endFinishedStages()
    // After the tasks that end with it, whatever the order of the effects.
    for (const effect of effects) {
      if (effect.type === 'job-failed') this.#onFailed(effect.jobId, effect.error)
      if (effect.type === 'forget-job') this.#onForgotten(effect.jobId)
    }
    this.#endDone(JOB_EVENTS.lateMs)
    return this.#events
  }

  /** The last that this leader has to say: of jobs that are done nothing more is awaited. */
  finish({ nowMs, epochMs }: TraceTime): JobEvent[] {
    this.#events = []
    this.#nowMs = nowMs
    this.#epochMs = Math.round(epochMs)
    this.#endDone(0)
    return this.#events
  }

  /** It is done, and what its last attempts did is still awaited. */
  isEnding(jobId: string): boolean {
    const job = this.#jobs.get(jobId)
    return job?.doneMs !== undefined && !job.ended
  }

  /** Nothing but its progress, which is said and not kept. */
  progress(effect: Extract<SchedulerEffect, { type: 'progress' }>, epochMs: number): JobEvent | undefined {
    const job = this.#jobs.get(effect.jobId)
    if (job === undefined) return undefined
    const { jobId, progress } = effect
    const seq = Math.max(0, job.seq - 1)
    const stamp = { v: JOB_EVENT_VERSION, jobId, term: this.#term, seq, timeMs: Math.round(epochMs) } as const
    return { ...stamp, type: 'progress', name: job.announced.name, progress }
  }

  #onEvent(event: SchedulerEvent, effects: readonly SchedulerEffect[]): void {
    switch (event.type) {
      case 'job-submitted':
        this.#onSubmitted(event.job.jobId, effects)
        break
      case 'task-ended':
        this.#onTaskEnded(event)
        break
      case 'executor-gone':
        this.#onExecutorGone(event.peer)
        break
      case 'executor-joined': {
        const { peer, workers } = event
        for (const job of this.#jobs.values())
          if (!job.ended) this.#say(job, { type: 'executor-joined', peer, workers })
        break
      }
      case 'result-lost': {
        const job = this.#jobs.get(event.jobId)
        const { partition, peer } = event
        if (job !== undefined) this.#say(job, { type: 'result-lost', partition, peer })
        break
      }
      default:
        break
    }
  }

  #onSubmitted(jobId: string, effects: readonly SchedulerEffect[]): void {
    const announced = this.#announced.get(jobId)
    this.#announced.delete(jobId)
    if (announced === undefined || this.#jobs.has(jobId)) return
    // It has ended, and the plan came once more.
    if (effects.some(effect => effect.type === 'forget-job' && effect.jobId === jobId)) return
    const stages = announced.stages.map(plan => ({
      plan,
      state: 'waiting' as const,
      startedMs: 0,
      running: 0,
      figures: new StageFigures(),
    }))
    const job: TracedJob = {
      jobId,
      announced,
      startedMs: this.#nowMs,
      stages,
      running: new Map(),
      peers: new Set(),
      told: new Set(),
      begun: new Set(),
      doneMs: undefined,
      isClosed: false,
      isForgotten: false,
      ended: false,
      started: 0,
      retried: 0,
      seq: 0,
      taskEvents: 0,
      dropped: 0,
    }
    this.#jobs.set(jobId, job)
    const { jobId: _, ...said } = announced
    this.#say(job, { type: 'job-started', ...said })
  }

  #onNondeterministic({
    jobId,
    stage: id,
    shuffle,
  }: Extract<SchedulerEffect, { type: 'nondeterministic' }>): void {
    const job = this.#jobs.get(jobId)
    const stage = job?.stages[id]
    if (job === undefined || stage === undefined || stage.state === 'waiting') return
    this.#say(job, { type: 'nondeterministic', stage: id, shuffle })
    stage.figures = new StageFigures()
  }

  #onRunTasks({ jobId, peer, tasks }: Extract<SchedulerEffect, { type: 'run-tasks' }>): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined) return
    job.peers.add(peer)
    for (const { id } of tasks) {
      const stage = job.stages[id.stage]!
      if (stage.state !== 'running') this.#beginStage(job, stage)
      const key = taskKey(id)
      const beside = job.running.get(key)
      job.started += 1
      if (job.begun.has(key)) job.retried += 1
      job.begun.add(key)
      const attempt = { id, peer, startedMs: this.#nowMs }
      const first = beside?.[0]
      if (first !== undefined) {
        const ranMs = this.#nowMs - first.startedMs
        this.#say(job, { type: 'speculated', ...this.#named(id, peer), besides: first.peer, ranMs })
      }
      if (beside === undefined) job.running.set(key, [attempt])
      else beside.push(attempt)
      stage.running += 1
      const speculative = first !== undefined
      this.#sayOfTask(job, { type: 'task-started', ...this.#named(id, peer), speculative })
    }
  }

  #beginStage(job: TracedJob, stage: TracedStage): void {
    // What it reads is all there, so whatever makes that is over, or has never had to begin.
    for (const parent of ancestors(job, stage)) {
      if (parent.state === 'waiting') this.#endStage(job, parent, 'skipped')
      else if (parent.state === 'running' && parent.running === 0) this.#endStage(job, parent, 'done')
    }
    const again = stage.state === 'ended'
    stage.state = 'running'
    stage.startedMs = this.#nowMs
    const { id, tasks } = stage.plan
    this.#say(job, { type: 'stage-started', stage: id, tasks, again })
  }

  #onTaskEnded({ peer, jobId, id, outcome }: Extract<SchedulerEvent, { type: 'task-ended' }>): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined || job.ended || job.stages[id.stage] === undefined) return
    const attempt = this.#take(job, id)
    if (attempt === undefined) {
      // Told before, or cancelled; of an earlier leader's attempts only that can be known.
      const key = attemptKey(id)
      if (id.term === this.#term || job.told.has(key)) return
      job.told.add(key)
    }
    job.peers.add(peer)
    const { fields, figures } = endOf(outcome)
    const named = this.#named(id, peer)
    const leaderMs = attempt === undefined ? 0 : this.#nowMs - attempt.startedMs
    if (outcome.type === 'failed' && outcome.fetch !== undefined) {
      const { node, map, peer: from } = outcome.fetch
      this.#say(job, { type: 'fetch-failed', ...named, node, map, from, code: outcome.error.code })
    }
    this.#sayEnd(job, { type: 'task-ended', ...named, leaderMs, ...fields })
    if (figures === undefined || !('metrics' in outcome)) return
    const { outputLines: lines = 0, outputSuppressed: suppressed = 0 } = outcome.metrics
    if (lines + suppressed > 0) this.#sayOfTask(job, { type: 'task-output', ...named, lines, suppressed })
    const stage = job.stages[id.stage]!
    stage.figures.add(id.partition, figures)
    if (stage.figures.finished === stage.plan.tasks) this.#maybeFinished.push({ job, stage })
  }

  /** Second attempts are cancelled by then. Of a stage that runs again each round ends when nothing of it runs. */
  #endFinishedStages(): void {
    for (const { job, stage } of this.#maybeFinished) {
      const isFinished = stage.figures.finished === stage.plan.tasks && stage.running === 0
      if (stage.state === 'running' && isFinished) this.#endStage(job, stage, 'done')
    }
    this.#maybeFinished = []
  }

  #onExecutorGone(peer: string): void {
    for (const job of this.#jobs.values()) {
      if (job.ended || !job.peers.delete(peer)) continue
      const lost = [...job.running.values()].flat().filter(attempt => attempt.peer === peer)
      this.#say(job, { type: 'executor-lost', peer, attempts: lost.length })
      for (const { id } of lost) this.#endAttempt(job, id, 'lost')
    }
  }

  #onCancelTasks({ jobId, ids }: Extract<SchedulerEffect, { type: 'cancel-tasks' }>): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined) return
    for (const id of ids) {
      // The requester may have the result of an attempt before the leader hears of its end.
      const isLate = job.doneMs !== undefined && !job.stages[id.stage]!.figures.has(id.partition)
      if (!isLate) this.#endAttempt(job, id, 'cancelled')
    }
  }

  #endAttempt(job: TracedJob, id: TaskId, outcome: 'lost' | 'cancelled'): void {
    const attempt = this.#take(job, id)
    if (attempt === undefined) return
    const leaderMs = this.#nowMs - attempt.startedMs
    this.#sayEnd(job, { type: 'task-ended', ...this.#named(id, attempt.peer), leaderMs, outcome })
  }

  /** The attempt, which is over now; undefined when it was before, or began under another leader. */
  #take(job: TracedJob, id: TaskId): Attempt | undefined {
    const key = taskKey(id)
    const attempts = job.running.get(key)
    const index =
      attempts?.findIndex(each => each.id.attempt === id.attempt && each.id.term === id.term) ?? -1
    if (attempts === undefined || index < 0) return undefined
    const [attempt] = attempts.splice(index, 1)
    if (attempts.length === 0) job.running.delete(key)
    job.stages[id.stage]!.running -= 1
    return attempt
  }

  #onDone(jobId: string, events: readonly SchedulerEvent[]): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined || job.ended) return
    job.doneMs = this.#nowMs
    job.isClosed = events.some(event => event.type === 'job-closed' && event.jobId === jobId)
  }

  /** Jobs that are done, once all their attempts are heard of, or when that takes too long. */
  #endDone(lateMs: number): void {
    for (const job of this.#jobs.values()) {
      if (job.doneMs === undefined || job.ended) continue
      if (job.running.size > 0) {
        if (this.#nowMs - job.doneMs < lateMs) continue
        for (const { id } of [...job.running.values()].flat()) this.#endAttempt(job, id, 'cancelled')
      }
      for (const stage of job.stages) {
        const isShort = job.isClosed && stage.figures.finished < stage.plan.tasks
        if (stage.state === 'waiting') this.#endStage(job, stage, 'skipped')
        else if (stage.state === 'running') this.#endStage(job, stage, isShort ? 'enough' : 'done')
      }
      this.#end(job, 'done')
      if (job.isForgotten) this.#jobs.delete(job.jobId)
    }
  }

  #onFailed(jobId: string, { code, message }: WireError): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined || job.ended) return
    for (const stage of job.stages) if (stage.state === 'running') this.#endStage(job, stage, 'stopped')
    this.#end(job, code === 'JOB_CANCELLED' ? 'cancelled' : 'failed', { code, message: short(message) })
  }

  #onForgotten(jobId: string): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined) return
    job.isForgotten = true
    if (job.doneMs !== undefined && !job.ended) return
    if (!job.ended) this.#end(job, 'cancelled')
    this.#jobs.delete(jobId)
  }

  #end(
    job: TracedJob,
    status: JobEventOf<'job-ended'>['status'],
    error?: { code: string; message: string },
  ): void {
    job.ended = true
    this.#sayDropped(job)
    const { started, retried } = job
    const durationMs = (job.doneMs ?? this.#nowMs) - job.startedMs
    const cause = error === undefined ? {} : { error }
    this.#say(job, { type: 'job-ended', status, durationMs, started, retried, ...cause })
  }

  #endStage(job: TracedJob, stage: TracedStage, outcome: JobEventOf<'stage-ended'>['outcome']): void {
    this.#sayDropped(job)
    const durationMs = outcome === 'skipped' ? 0 : this.#nowMs - stage.startedMs
    const { figures } = stage
    stage.state = 'ended'
    const ended: Extract<Unstamped, { type: 'stage-ended' }> = {
      type: 'stage-ended',
      stage: stage.plan.id,
      outcome,
      durationMs,
      finished: figures.finished,
    }
    if (figures.finished > 0) ended.totals = figures.totals()
    const skew = figures.skew()
    if (skew.length > 0) ended.skew = skew
    this.#say(job, ended)
  }

  #sayEnd(job: TracedJob, ended: Omit<Ended, 'v' | 'jobId' | 'term' | 'seq' | 'timeMs'>): void {
    // Those that went wrong are few, and what people look for: a job fails when there are many.
    if (ended.outcome === 'done' || ended.outcome === 'cancelled') this.#sayOfTask(job, ended)
    else this.#say(job, ended)
  }

  #sayOfTask(job: TracedJob, event: Unstamped): void {
    if (job.taskEvents >= JOB_EVENTS.taskEventsMax) {
      job.dropped += 1
      return
    }
    job.taskEvents += 1
    this.#say(job, event)
  }

  #sayDropped(job: TracedJob): void {
    if (job.dropped === 0) return
    this.#say(job, { type: 'events-dropped', events: job.dropped })
    job.dropped = 0
  }

  #say(job: TracedJob, event: Unstamped): void {
    const stamp = {
      v: JOB_EVENT_VERSION,
      jobId: job.jobId,
      term: this.#term,
      seq: job.seq++,
      timeMs: this.#epochMs,
    } as const
    this.#events.push({ ...stamp, ...event })
  }

  #named(id: TaskId, peer: string): Pick<Ended, 'stage' | 'partition' | 'attempt' | 'attemptTerm' | 'peer'> {
    const { stage, partition, attempt, term } = id
    return term === this.#term
      ? { stage, partition, attempt, peer }
      : { stage, partition, attempt, attemptTerm: term, peer }
  }

  assertInvariants(): void {
    for (const job of this.#jobs.values()) {
      const counts = job.stages.map(() => 0)
      for (const attempts of job.running.values()) {
        invariant(attempts.length > 0, `${job.jobId} keeps a task that does not run`)
        for (const { id } of attempts) counts[id.stage]! += 1
      }
      for (const [index, stage] of job.stages.entries()) {
        invariant(stage.running === counts[index], `stage ${index} of ${job.jobId} miscounts what runs`)
        invariant(
          stage.state === 'running' || stage.running === 0,
          `an ended stage of ${job.jobId} still runs`,
        )
        invariant(!job.ended || stage.running === 0, `${job.jobId} has ended and still runs`)
      }
    }
  }

  /** Nothing is left when every job was forgotten. */
  assertEmpty(): void {
    invariant(this.#jobs.size === 0, 'jobs are left in the tracer')
    invariant(this.#announced.size === 0, 'announced jobs are left')
  }
}

function ancestors(job: TracedJob, stage: TracedStage): TracedStage[] {
  const found = new Set<TracedStage>()
  const visit = ({ plan }: TracedStage): void => {
    for (const id of plan.parents) {
      const parent = job.stages[id]!
      if (found.has(parent)) continue
      found.add(parent)
      visit(parent)
    }
  }
  visit(stage)
  return [...found].sort((a, b) => a.plan.id - b.plan.id)
}

/** More than a plan may have partitions. */
const PARTITIONS = 2 ** 24

function taskKey({ stage, partition }: TaskId): number {
  return stage * PARTITIONS + partition
}

function endOf(outcome: EndedOutcome): {
  fields: Pick<Ended, 'outcome'> & Partial<Pick<Ended, 'figures' | 'code' | 'message'>>
  figures: TaskFigures | undefined
} {
  if (outcome.type === 'failed' || outcome.type === 'worker-died') {
    const { code, message } = outcome.error
    const kind =
      outcome.type === 'worker-died' ? 'worker-died' : outcome.fetch === undefined ? 'failed' : 'fetch-failed'
    return { fields: { outcome: kind, code, message: short(message) }, figures: undefined }
  }
  const { metrics } = outcome
  const isMap = outcome.type === 'map-output'
  const figures: TaskFigures = {
    durationMs: toTenth(metrics.durationMs),
    cpuMs: toTenth(metrics.cpuMs ?? 0),
    inBytes: metrics.bytesRead,
    inRecords: metrics.recordsRead,
    outBytes: isMap ? 0 : metrics.bytesWritten,
    outRecords: metrics.recordsWritten ?? 0,
    shuffleReadBytes: metrics.bytesFetched,
    shuffleWriteBytes: isMap ? outcome.sizeBytes : 0,
    spilledBytes: metrics.spilledBytes,
    spilledRecords: metrics.spilledRecords,
    peakBytes: metrics.peakBytes,
    cacheHits: metrics.cacheHits,
    largestGroup: metrics.largestGroup,
  }
  if (metrics.largestKey !== undefined) figures.largestKey = metrics.largestKey
  return { fields: { outcome: 'done', figures }, figures }
}

function short(message: string): string {
  return message.length <= JOB_EVENTS.messageMax ? message : `${message.slice(0, JOB_EVENTS.messageMax)}…`
}

function toTenth(ms: number): number {
  return Math.round(ms * 10) / 10
}
