import { invariant, type ErrorCode, type WireError } from '../base/errors.ts'
import { SCHEDULER } from './config.ts'
import { JobState, type TaskState, type Waiting } from './job-state.ts'
import { OutputRegistry } from './output-registry.ts'
import type { JobSpec, SchedulerEffect, SchedulerEvent, SealedOutput } from './scheduler-types.ts'
import { attemptKey, type Stage, type TaskId } from './task.ts'

const NOBODY: ReadonlySet<string> = new Set()

/** What the latest task counts in the pace of its session when it was quicker than those before. */
const PACE_WEIGHT = 0.25
/** Less is the cost of handing it over. */
const PACE_MIN_MS = 0.5

type TaskEnded = Extract<SchedulerEvent, { type: 'task-ended' }>

interface Queue {
  job: JobState
  /** Looked at once: rooms only fill up meanwhile, so what had no place near will not get one. */
  waiting: Iterator<Waiting>
  /** Those looked at that have no place near their input. */
  elsewhere: Waiting[]
  running: number
}

interface Executor {
  workers: number
  /** `<jobId> <attemptKey>` of what it was given and has not reported as ended. */
  running: Set<string>
}

/**
 * The job scheduler of the leader (Spark's DAGScheduler and TaskScheduler in one). Pure: plain events in, effects out.
 *
 * Glossary: a *stage* is needed when the action or a needed stage reads it and its outputs are not all there; a task is
 * *waiting*, *running* (one attempt or more) or *done* (its output is sealed on a live executor, or accepted).
 *
 * How it survives its own death: nothing here is stored. The next leader builds a fresh machine, feeds it the executors'
 * inventories and the plans that the requesters send again, and goes on with what is sealed and running. Planning is
 * deterministic, so stage and partition numbers mean the same to both.
 *
 * Reviewer's checklist: when adding a collection, say below what removes from it, and look at `assertInvariants`.
 * - `#executors`: removed by executor-gone.
 * - `#jobs`: removed by job-closed, job-cancelled, failure, lease expiry.
 * - `#outputs`: removed by executor-gone (per peer), forget-session.
 * - `#orphans`, `#sealedResults` (of jobs not submitted yet): removed by job-submitted, executor-gone, expiry.
 * - `#early` (reports of peers whose inventory is still awaited): removed by inventory-received, expiry.
 * - `#ended` (jobs that must not begin again): removed by lease expiry, oldest first beyond `endedMax`.
 * - `#leases`, `#paces`: removed by expiry.
 */
export class Scheduler {
  readonly #term: number
  readonly #executors = new Map<string, Executor>()
  readonly #jobs = new Map<string, JobState>()
  readonly #outputs = new OutputRegistry()
  /** What new leaders find running before the requester has sent the plan again. */
  readonly #orphans = new Map<string, { jobId: string; id: TaskId; peer: string; untilMs: number }>()
  readonly #sealedResults = new Map<string, { peer: string; output: SealedOutput; untilMs: number }>()
  /** A report may overtake the inventory that still calls its attempt running: it is looked at after that. */
  readonly #early = new Map<string, { reports: TaskEnded[]; untilMs: number }>()
  /** Why a job ended, undefined when its requester closed it: the plan may come once more, from a slow retry. */
  readonly #ended = new Map<string, { session: string; error: WireError | undefined }>()
  readonly #leases = new Map<string, number>()
  /** Session → how long its tasks took of late, in ms. */
  readonly #paces = new Map<string, number>()
  #effects: SchedulerEffect[] = []

  constructor(options: { term: number }) {
    this.#term = options.term
  }

  step(event: SchedulerEvent, nowMs: number): SchedulerEffect[] {
    return this.stepAll([event], nowMs)
  }

  /** What came together is looked at together, and followed by one round of handing out. */
  stepAll(events: readonly SchedulerEvent[], nowMs: number): SchedulerEffect[] {
    this.#effects = []
    for (const event of events) this.#on(event, nowMs)
    this.#assign(nowMs)
    // What is idle now has nothing better to do.
    if (events.some(({ type }) => type === 'tick')) this.#speculate(nowMs)
    return this.#effects
  }

  #on(event: SchedulerEvent, nowMs: number): void {
    switch (event.type) {
      case 'executor-joined':
        this.#onExecutorJoined(event.peer, event.workers)
        break
      case 'executor-gone':
        this.#onExecutorGone(event.peer)
        break
      case 'inventory-received':
        this.#onInventory(event, nowMs)
        break
      case 'job-submitted':
        this.#onSubmitted(event.job, nowMs)
        break
      case 'task-ended':
        this.#onTaskEnded(event, nowMs)
        break
      case 'result-accepted':
        this.#onAccepted(event.jobId, event.partitions)
        break
      case 'result-lost':
        this.#onResultLost(event.jobId, event.partition)
        break
      case 'job-closed':
        this.#onClosed(event.jobId)
        break
      case 'job-cancelled':
        this.#onCancelled(event.jobId, event.reason)
        break
      case 'lease-renewed':
        this.#onRenewed(event, nowMs)
        break
      case 'session-found':
        this.#onSessionFound(event.session, nowMs)
        break
      case 'tick':
        this.#onTick(nowMs)
        break
    }
  }

  /** The jobs that are not closed, for `shoal jobs`. */
  jobs(): { jobId: string; name: string; progress: ReturnType<JobState['progress']> }[] {
    return [...this.#jobs.values()].map(job => ({
      jobId: job.spec.jobId,
      name: job.spec.name,
      progress: job.progress(this.#executors.size),
    }))
  }

  /** Somebody renews its lease, or did not long ago. */
  hasSession(session: string): boolean {
    return this.#leases.has(session)
  }

  hasJob(jobId: string): boolean {
    return this.#jobs.has(jobId)
  }

  #onExecutorJoined(peer: string, workers: number): void {
    const known = this.#executors.get(peer)
    if (known === undefined) this.#executors.set(peer, { workers, running: new Set() })
    else known.workers = workers
  }

  #onExecutorGone(peer: string): void {
    if (!this.#executors.delete(peer)) return
    this.dropOutputs(this.#outputs, peer)
    for (const [key, orphan] of this.#orphans) if (orphan.peer === peer) this.#orphans.delete(key)
    for (const [key, sealed] of this.#sealedResults) if (sealed.peer === peer) this.#sealedResults.delete(key)
    for (const job of this.#jobs.values()) job.losePeer(peer)
  }

  /** What was sealed there cannot be read any more. */
  protected dropOutputs(outputs: OutputRegistry, peer: string): void {
    outputs.dropPeer(peer)
  }

  #onInventory(event: Extract<SchedulerEvent, { type: 'inventory-received' }>, nowMs: number): void {
    if (!this.#executors.has(event.peer)) return
    const untilMs = nowMs + SCHEDULER.orphanMs
    const over = new Set<string>()
    for (const output of event.outputs) {
      if (output.shuffle !== undefined) {
        const { key, map } = output.shuffle
        if (!this.#isStale(output.jobId, output.id)) this.#addOutput(key, map, event.peer, output.checksum)
        continue
      }
      const job = this.#jobs.get(output.jobId)
      if (this.#ended.has(output.jobId)) over.add(output.jobId)
      else if (job === undefined) {
        this.#sealedResults.set(`${output.jobId} ${output.id.partition}`, {
          peer: event.peer,
          output,
          untilMs,
        })
      } else {
        job.sealResult(output.id.partition, event.peer)
      }
    }
    for (const { jobId, id } of event.running) {
      const job = this.#jobs.get(jobId)
      if (this.#ended.has(jobId)) over.add(jobId)
      else if (job === undefined)
        this.#orphans.set(`${jobId} ${attemptKey(id)}`, { jobId, id, peer: event.peer, untilMs })
      else this.#adopt(job, id, event.peer, nowMs)
    }
    for (const job of this.#jobs.values()) this.#cancelDone(job)
    // It was away when they ended.
    for (const jobId of over) this.#effects.push({ type: 'forget-job', jobId, peers: [event.peer] })
    const early = this.#early.get(event.peer)
    this.#early.delete(event.peer)
    for (const report of early?.reports ?? []) this.#onTaskEnded(report, nowMs)
  }

  #adopt(job: JobState, id: TaskId, peer: string, nowMs: number): void {
    const executor = this.#executors.get(peer)
    const task = job.task(id)
    if (executor === undefined || task === undefined) return
    if (job.finished || job.isDone(id, this.#outputs)) {
      this.#cancel(job.spec.jobId, peer, id)
      return
    }
    job.begin(task, attemptKey(id), { id, peer, startedMs: nowMs })
    executor.running.add(`${job.spec.jobId} ${attemptKey(id)}`)
  }

  #onSubmitted(spec: JobSpec, nowMs: number): void {
    this.#leases.set(spec.session, nowMs + SCHEDULER.leaseMs)
    const known = this.#jobs.get(spec.jobId)
    if (known !== undefined) {
      known.resubmit(spec)
      this.#cancelDone(known)
      this.#finishIfDone(known)
      return
    }
    const ended = this.#ended.get(spec.jobId)
    if (ended !== undefined) {
      if (ended.error !== undefined)
        this.#effects.push({ type: 'job-failed', jobId: spec.jobId, error: ended.error })
      this.#effects.push({ type: 'forget-job', jobId: spec.jobId, peers: [] })
      return
    }
    const job = new JobState(spec)
    job.nearMs = nowMs
    job.reportedMs = nowMs
    this.#jobs.set(spec.jobId, job)
    for (const [key, orphan] of this.#orphans) {
      if (orphan.jobId !== spec.jobId) continue
      this.#orphans.delete(key)
      this.#adopt(job, orphan.id, orphan.peer, nowMs)
    }
    for (const [key, sealed] of this.#sealedResults) {
      if (sealed.output.jobId !== spec.jobId) continue
      this.#sealedResults.delete(key)
      job.sealResult(sealed.output.id.partition, sealed.peer)
    }
    this.#cancelDone(job)
    this.#finishIfDone(job)
  }

  #onTaskEnded(event: TaskEnded, nowMs: number): void {
    const { peer, jobId, id, outcome } = event
    const executor = this.#executors.get(peer)
    if (executor === undefined) {
      this.#keepEarly(event, nowMs)
      // What the requester has it has, whoever says so.
      if (outcome.type === 'result' && outcome.accepted) this.#onAccepted(jobId, [id.partition])
      return
    }
    const key = attemptKey(id)
    this.#orphans.delete(`${jobId} ${key}`)
    executor.running.delete(`${jobId} ${key}`)
    // A map output is worth keeping even when its job is over: it belongs to the session.
    if (outcome.type === 'map-output') {
      this.#onSessionFound(outcome.shuffle.slice(0, outcome.shuffle.lastIndexOf('/')), nowMs)
      if (this.#isStale(jobId, id)) this.#onStaleOutput(outcome.shuffle, id.partition, peer)
      else this.#addOutput(outcome.shuffle, id.partition, peer, outcome.checksum)
    }
    const job = this.#jobs.get(jobId)
    if (job === undefined) {
      if (outcome.type !== 'result' || this.#ended.has(jobId)) return
      // Begun under an earlier leader; the requester has yet to send the plan to this one.
      const output = { jobId, id, checksum: outcome.checksum, sizeBytes: outcome.sizeBytes }
      const untilMs = nowMs + SCHEDULER.orphanMs
      this.#sealedResults.set(`${jobId} ${id.partition}`, { peer, output, untilMs })
      return
    }
    const task = job.task(id)
    if (task === undefined) return
    const attempt = job.end(task, key)
    const awaited = attempt !== undefined
    if (awaited && (outcome.type === 'map-output' || outcome.type === 'result')) {
      job.took(id.stage, nowMs - attempt.startedMs)
      this.#paced(job.spec.session, outcome.metrics.durationMs)
    }
    switch (outcome.type) {
      case 'map-output':
        if (job.isDone(id, this.#outputs)) this.cancelAttempts(job, task)
        else if (awaited) job.again(id.stage, task)
        break
      case 'result':
        job.sealResult(id.partition, peer)
        if (outcome.accepted) job.accept([id.partition])
        this.cancelAttempts(job, task)
        this.#finishIfDone(job)
        break
      // A failure is looked at once: reports are sent again when their answer is lost, and the end of a cancelled
      // attempt means nothing.
      case 'failed':
        if (!awaited) break
        job.again(id.stage, task)
        if (outcome.fetch !== undefined) this.#onFetchFailed(job, task, outcome.fetch, outcome.error)
        else this.#onUserError(job, task, peer, outcome.error)
        break
      case 'worker-died':
        if (!awaited) break
        job.again(id.stage, task)
        this.#onWorkerDied(job, task, id, peer, outcome.error)
        break
    }
  }

  /** A map output that differs from what was there before: what was computed from that one is computed again, whole. */
  #addOutput(shuffle: string, map: number, peer: string, checksum: number): void {
    if (this.#outputs.add(shuffle, map, peer, checksum)) this.restartReaders(shuffle, new Set())
  }

  protected restartReaders(shuffle: string, seen: Set<string>): void {
    if (seen.has(shuffle)) return
    seen.add(shuffle)
    for (const job of this.#jobs.values()) {
      for (const { stage, tasks } of job.readersOf(shuffle)) {
        if (!job.finished)
          this.#effects.push({ type: 'nondeterministic', jobId: job.spec.jobId, stage: stage.id, shuffle })
        if (stage.sink.kind === 'result') {
          if (job.hasBegunResults && !job.finished) this.#fail(job, nondeterministic(job.spec.jobId, shuffle))
          continue
        }
        for (const task of tasks.values()) {
          task.staleBelow = task.attempts
          if (task.running.size === 0) continue
          this.cancelAttempts(job, task)
          job.again(stage.id, task)
        }
        const { key } = job.spec.shuffles[stage.sink.node]!
        this.#outputs.dropShuffle(key)
        this.restartReaders(key, seen)
      }
    }
  }

  /**
   * The attempt read map outputs that have changed since. Its report may come all the same, late or a second time, or its
   * output be found at a peer that comes back.
   */
  #isStale(jobId: string, id: TaskId): boolean {
    const staleBelow = this.#jobs.get(jobId)?.task(id)?.staleBelow
    return staleBelow !== undefined && (id.term !== this.#term || id.attempt < staleBelow)
  }

  /** Where a later attempt has put its output already, the stale one may have come on top of it. */
  #onStaleOutput(shuffle: string, map: number, peer: string): void {
    if (!this.#outputs.isAt(shuffle, map, peer)) return
    this.#outputs.drop(shuffle, map, peer)
    this.restartReaders(shuffle, new Set())
  }

  #keepEarly(event: TaskEnded, nowMs: number): void {
    const untilMs = nowMs + SCHEDULER.orphanMs
    const early = this.#early.get(event.peer)
    if (early === undefined) this.#early.set(event.peer, { reports: [event], untilMs })
    else if (early.reports.length < SCHEDULER.earlyReportsMax) early.reports.push(event)
  }

  #onWorkerDied(job: JobState, task: TaskState, id: TaskId, peer: string, error: WireError): void {
    task.workersKilled.push(peer)
    if (task.workersKilled.length < SCHEDULER.poisonWorkers) return
    if (error.code === 'TASK_OOM') {
      this.#fail(job, {
        ...error,
        message: `partition ${id.partition} of stage ${id.stage}: ${error.message}`,
      })
      return
    }
    this.#fail(job, {
      code: 'TASK_POISON',
      message:
        `partition ${id.partition} of stage ${id.stage} killed ${task.workersKilled.length} workers ` +
        `(last: ${error.message}); it is not tried again`,
      details: { stage: id.stage, partition: id.partition, peers: task.workersKilled },
      cause: error,
    })
  }

  /** The reader could not get a map output: it is lost, not the reader's fault. */
  #onFetchFailed(
    job: JobState,
    task: TaskState,
    fetch: { node: number; map: number; peer: string },
    error: WireError,
  ): void {
    const shuffle = job.spec.shuffles[fetch.node]
    if (shuffle !== undefined) this.#outputs.drop(shuffle.key, fetch.map, fetch.peer)
    task.fetchFailures += 1
    if (task.fetchFailures > SCHEDULER.fetchFailuresMax) this.#fail(job, error)
  }

  #onUserError(job: JobState, task: TaskState, peer: string, error: WireError): void {
    if (MESH_TROUBLE.has(error.code)) {
      task.fetchFailures += 1
      if (task.fetchFailures > SCHEDULER.fetchFailuresMax) this.#fail(job, error)
      return
    }
    if (error.code === 'TASK_MEMORY' || error.code === 'PLAN_INVALID' || error.code === 'PACKAGE_MISSING') {
      this.#fail(job, error)
      return
    }
    const sameElsewhere = task.errors.some(known => known.peer !== peer && isSame(known.error, error))
    task.errors.push({ peer, error })
    if (sameElsewhere || task.errors.length >= SCHEDULER.userFailuresMax || this.#executors.size === 1) {
      this.#fail(job, error)
    }
  }

  #onAccepted(jobId: string, partitions: number[]): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined) return
    job.accept(partitions)
    this.#cancelDone(job)
    this.#finishIfDone(job)
  }

  /** The requester could not fetch it where it is sealed: whatever became of it there, it is made again. */
  #onResultLost(jobId: string, partition: number): void {
    this.#jobs.get(jobId)?.loseResult(partition)
  }

  /** The requester has all it wants, whether or not this leader was told of each result. */
  #onClosed(jobId: string): void {
    const job = this.#jobs.get(jobId)
    if (job !== undefined && !job.finished) this.#finish(job)
    this.#end(jobId, undefined)
    this.#forgetJob(jobId)
  }

  #finishIfDone(job: JobState): void {
    if (!job.finished && job.allAccepted()) this.#finish(job)
  }

  #finish(job: JobState): void {
    job.finished = true
    this.#effects.push({
      type: 'job-done',
      jobId: job.spec.jobId,
      progress: job.progress(this.#executors.size),
    })
    this.#cancelRunning(job)
  }

  #onCancelled(jobId: string, reason: string): void {
    const error = cancellation(jobId, reason)
    const job = this.#jobs.get(jobId)
    if (job === undefined) this.#end(jobId, error)
    else this.#fail(job, error)
  }

  #fail(job: JobState, error: WireError): void {
    const { jobId } = job.spec
    this.#end(jobId, error)
    this.#stop(job, error)
  }

  #stop(job: JobState, error: WireError): void {
    if (!job.finished) this.#effects.push({ type: 'job-failed', jobId: job.spec.jobId, error })
    this.#forgetJob(job.spec.jobId)
  }

  /** The job does not begin again under this leader. */
  #end(jobId: string, error: WireError | undefined): void {
    if (this.#ended.has(jobId)) return
    const session = this.#jobs.get(jobId)?.spec.session ?? jobId.slice(0, jobId.lastIndexOf('/'))
    this.#ended.set(jobId, { session, error })
    const [oldest] = this.#ended.keys()
    if (this.#ended.size > SCHEDULER.endedMax && oldest !== undefined) this.#ended.delete(oldest)
  }

  #forgetJob(jobId: string): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined) return
    this.#cancelRunning(job)
    this.#jobs.delete(jobId)
    this.#effects.push({ type: 'forget-job', jobId, peers: [...this.#executors.keys()] })
  }

  /** Attempts at what is done by now have nothing to add. */
  #cancelDone(job: JobState): void {
    for (const task of job.doneTasks(this.#outputs)) this.cancelAttempts(job, task)
  }

  #cancelRunning(job: JobState): void {
    for (const task of job.tasks()) this.cancelAttempts(job, task)
  }

  /** What still runs of a task that needs no attempt any more. */
  protected cancelAttempts(job: JobState, task: TaskState): void {
    for (const [key, attempt] of task.running) {
      this.#executors.get(attempt.peer)?.running.delete(`${job.spec.jobId} ${key}`)
      this.#cancel(job.spec.jobId, attempt.peer, attempt.id)
      job.end(task, key)
    }
  }

  #cancel(jobId: string, peer: string, id: TaskId): void {
    const last = this.#effects.at(-1)
    if (last?.type === 'cancel-tasks' && last.peer === peer && last.jobId === jobId) last.ids.push(id)
    else this.#effects.push({ type: 'cancel-tasks', peer, jobId, ids: [id] })
  }

  /** A job that the requester had begun and does not list is over: its end was told to a leader that was none any more. */
  #onRenewed(event: Extract<SchedulerEvent, { type: 'lease-renewed' }>, nowMs: number): void {
    const { session, jobs, begun } = event
    this.#leases.set(session, nowMs + SCHEDULER.leaseMs)
    const listed = new Set(jobs)
    for (const job of this.#jobs.values()) {
      const { jobId } = job.spec
      // A renewal may come late, after the plans of jobs that it could not know of.
      if (job.spec.session !== session || listed.has(jobId) || !(jobNumber(jobId) <= begun)) continue
      this.#stop(job, cancellation(jobId, 'its requester is done with it'))
    }
  }

  /** Something is kept for it, whose end somebody has to say: a task may go on after its session was forgotten. */
  #onSessionFound(session: string, nowMs: number): void {
    if (!this.#leases.has(session)) this.#leases.set(session, nowMs + SCHEDULER.leaseMs)
  }

  #onTick(nowMs: number): void {
    for (const [session, untilMs] of this.#leases) if (untilMs <= nowMs) this.#endSession(session)
    for (const [key, orphan] of this.#orphans) {
      if (orphan.untilMs > nowMs) continue
      this.#orphans.delete(key)
      this.#effects.push({ type: 'forget-job', jobId: orphan.jobId, peers: [orphan.peer] })
    }
    for (const [key, sealed] of this.#sealedResults) {
      if (sealed.untilMs > nowMs) continue
      this.#sealedResults.delete(key)
      this.#effects.push({ type: 'forget-job', jobId: sealed.output.jobId, peers: [sealed.peer] })
    }
    for (const [peer, early] of this.#early) if (early.untilMs <= nowMs) this.#early.delete(peer)
  }

  #endSession(session: string): void {
    this.#leases.delete(session)
    this.#paces.delete(session)
    for (const job of this.#jobs.values()) {
      if (job.spec.session !== session) continue
      const { jobId } = job.spec
      const reason = `its requester was not heard of for ${SCHEDULER.leaseMs} ms`
      // Not remembered as ended: a requester that was only cut off may go on where it was.
      this.#stop(job, cancellation(jobId, reason))
    }
    for (const [jobId, ended] of this.#ended) if (ended.session === session) this.#ended.delete(jobId)
    this.#outputs.dropSession(session)
    this.#effects.push({ type: 'forget-session', session, peers: [...this.#executors.keys()] })
  }

  /** Gives waiting tasks of needed stages to executors with room, the job with the fewest running tasks first. */
  #assign(nowMs: number): void {
    const queues: Queue[] = []
    let waitingTotal = 0
    let room = 0
    for (const executor of this.#executors.values())
      room += Math.max(0, executor.workers * SCHEDULER.queueDepthMax - executor.running.size)
    if (room > 0) {
      for (const job of this.#jobs.values()) {
        if (job.finished) continue
        const waiting = job.waitingAbout(this.#outputs)
        waitingTotal += waiting
        if (waiting > 0)
          queues.push({ job, waiting: job.waiting(this.#outputs), elsewhere: [], running: job.running })
      }
      if (waitingTotal > 0) this.#handOut(queues, this.#queueDepth(queues, waitingTotal), nowMs)
    }
    for (const job of this.#jobs.values()) {
      if (job.changed && !job.finished && nowMs - job.reportedMs >= SCHEDULER.progressEveryMs)
        this.#report(job, nowMs)
    }
  }

  /** Slow tasks get a second attempt where a worker has nothing else to do. */
  #speculate(nowMs: number): void {
    const batches = new Map<string, Extract<SchedulerEffect, { type: 'run-tasks' }>>()
    for (const job of this.#jobs.values()) {
      if (job.finished) continue
      for (const { stage, task } of job.stragglers(this.#outputs, nowMs)) {
        const [running] = task.running.values()
        const others = [...this.#executors.keys()].filter(peer => peer !== running!.peer)
        const peer = this.#roomiest(others, task, ({ workers, running: busy }) => workers - busy.size)
        if (peer !== undefined) this.#start(job, stage, task, peer, batches, nowMs)
      }
    }
    this.#effects.push(...batches.values())
  }

  #handOut(queues: Queue[], depth: number, nowMs: number): void {
    const batches = new Map<string, Extract<SchedulerEffect, { type: 'run-tasks' }>>()
    const roomOf = (executor: Executor): number => executor.workers * depth - executor.running.size
    let room = 0
    for (const executor of this.#executors.values()) room += Math.max(0, roomOf(executor))
    let open = queues
    while (open.length > 0 && room > 0) {
      const queue = open.reduce((least, other) => (other.running < least.running ? other : least))
      const next = this.#nextOf(queue, roomOf, nowMs)
      if (next === undefined) {
        open = open.filter(candidate => candidate !== queue)
        continue
      }
      this.#start(queue.job, next.stage, next.task, next.peer, batches, nowMs)
      queue.running += 1
      room -= 1
    }
    this.#effects.push(...batches.values())
  }

  /**
   * Tasks an executor holds per worker. One keeps long tasks balanced; many short ones want a queue at the executor, so
   * that a worker never waits for the leader: about a quarter of the remaining work each, at most `queueDepthMax`. Where
   * the sessions that wait had only tiny tasks of late, all of it at once, as long as that is done in `queueMs`.
   */
  #queueDepth(queues: readonly Queue[], waiting: number): number {
    let workers = 0
    for (const executor of this.#executors.values()) workers += executor.workers
    const share = Math.ceil(waiting / (workers * 4))
    const paceMs = Math.max(...queues.map(({ job }) => this.#paces.get(job.spec.session) ?? Infinity))
    const quick = Math.min(Math.ceil(waiting / workers), Math.floor(SCHEDULER.queueMs / paceMs))
    return Math.min(SCHEDULER.queueDepthMax, Math.max(1, share, quick))
  }

  /** A slow task counts at once, quick ones little by little: a long one must not get others queued behind it. */
  #paced(session: string, durationMs: number): void {
    const known = this.#paces.get(session) ?? durationMs
    const paceMs = Math.max(durationMs, known + (durationMs - known) * PACE_WEIGHT)
    this.#paces.set(session, Math.max(PACE_MIN_MS, paceMs))
  }

  /** A task with a place near its input if there is one, else any task with any place; those without wait. */
  #nextOf(
    queue: Queue,
    roomOf: (executor: Executor) => number,
    nowMs: number,
  ): (Waiting & { peer: string }) | undefined {
    const { job, waiting, elsewhere } = queue
    while (elsewhere.length < SCHEDULER.lookAheadMax) {
      const { done, value: each } = waiting.next()
      if (done === true) break
      if (job.runsAnywhere(each.stage)) {
        if (each.task.running.size > 0) continue
        const anywhere = this.#roomiest(this.#executors.keys(), each.task, roomOf)
        if (anywhere !== undefined) return { ...each, peer: anywhere }
        continue
      }
      const kept = job.keptAt(each.stage, each.task)
      const near = kept.length > 0 ? kept : job.spec.preferred[each.stage.id]?.[each.task.partition]
      const peer = this.#roomiest(near ?? [], each.task, roomOf)
      if (peer === undefined) {
        elsewhere.push(each)
        continue
      }
      if (kept.length > 0) job.nearMs = nowMs
      return { ...each, peer }
    }
    for (let each = elsewhere.shift(); each !== undefined; each = elsewhere.shift()) {
      // It may be in the queue twice, when it has failed before.
      if (each.task.running.size > 0 || this.waitsForKept(job, each, nowMs)) continue
      const peer = this.#roomiest(this.#executors.keys(), each.task, roomOf)
      if (peer !== undefined) return { ...each, peer }
    }
    return undefined
  }

  /** Computing a kept partition again costs more than a moment's wait, as long as its peers get on with their work. */
  protected waitsForKept(job: JobState, { stage, task }: Waiting, nowMs: number): boolean {
    if (nowMs - job.nearMs >= SCHEDULER.localityWaitMs) return false
    const failedOn = this.#failedOn(task)
    return job.keptAt(stage, task).some(peer => this.#executors.has(peer) && !failedOn.has(peer))
  }

  #roomiest(
    peers: Iterable<string>,
    task: TaskState,
    roomOf: (executor: Executor) => number,
  ): string | undefined {
    const failedOn = this.#failedOn(task)
    let best: string | undefined
    let bestRoom = 0
    for (const peer of peers) {
      const executor = this.#executors.get(peer)
      if (executor === undefined || failedOn.has(peer)) continue
      const room = roomOf(executor)
      if (room > bestRoom) [best, bestRoom] = [peer, room]
    }
    return best
  }

  /** Executors on which the task is not tried again; none when it has failed on all. */
  #failedOn(task: TaskState): ReadonlySet<string> {
    if (task.errors.length === 0 && task.workersKilled.length === 0) return NOBODY
    const failed = [...task.errors.map(({ peer }) => peer), ...task.workersKilled]
    const here = new Set(failed.filter(peer => this.#executors.has(peer)))
    return here.size < this.#executors.size ? here : NOBODY
  }

  #start(
    job: JobState,
    stage: Stage,
    task: TaskState,
    peer: string,
    batches: Map<string, Extract<SchedulerEffect, { type: 'run-tasks' }>>,
    nowMs: number,
  ): void {
    const id: TaskId = {
      stage: stage.id,
      partition: task.partition,
      attempt: task.attempts,
      term: this.#term,
    }
    job.started += 1
    if (task.attempts > 0 || task.wasDone) job.retried += 1
    task.attempts += 1
    job.begin(task, attemptKey(id), { id, peer, startedMs: nowMs })
    this.#executors.get(peer)!.running.add(`${job.spec.jobId} ${attemptKey(id)}`)
    const batchKey = `${peer} ${job.spec.jobId} ${stage.id}`
    let batch = batches.get(batchKey)
    if (batch === undefined) {
      const shuffles = stage.reads.map(node => ({
        node,
        shuffle: job.spec.shuffles[node]!.key,
        peers: this.#outputs.peersOf(job.spec.shuffles[node]!.key, job.spec.shuffles[node]!.maps),
      }))
      batch = { type: 'run-tasks', peer, jobId: job.spec.jobId, stage, shuffles, tasks: [] }
      batches.set(batchKey, batch)
    }
    batch.tasks.push({ id, holders: job.spec.holders[stage.id]?.[task.partition] ?? {} })
  }

  #report(job: JobState, nowMs: number): void {
    job.changed = false
    job.reportedMs = nowMs
    this.#effects.push({
      type: 'progress',
      jobId: job.spec.jobId,
      progress: job.progress(this.#executors.size),
    })
  }

  assertInvariants(): void {
    for (const [peer, executor] of this.#executors) {
      for (const key of executor.running) {
        const space = key.lastIndexOf(' ')
        const job = this.#jobs.get(key.slice(0, space))
        const held =
          job !== undefined && [...job.tasks()].some(task => task.running.has(key.slice(space + 1)))
        invariant(held, `executor ${peer} runs ${key}, but no task says so`)
      }
    }
    for (const job of this.#jobs.values()) {
      if (!job.finished) job.assertInvariants(this.#outputs)
      for (const task of job.tasks()) {
        invariant(!(task.done && task.running.size > 0), `a done task of ${job.spec.jobId} still runs`)
        for (const { peer } of task.running.values()) {
          invariant(this.#executors.has(peer), `a task of ${job.spec.jobId} runs on the absent peer ${peer}`)
        }
      }
    }
    for (const session of this.#paces.keys())
      invariant(this.#leases.has(session), `${session} has a pace and no lease`)
    this.#outputs.assertInvariants(new Set(this.#executors.keys()))
  }

  /** Nothing is left when every job has ended and every session is gone. */
  assertEmpty(): void {
    invariant(this.#jobs.size === 0, 'jobs are left')
    invariant(this.#orphans.size === 0, 'orphans are left')
    invariant(this.#sealedResults.size === 0, 'sealed results are left')
    invariant(this.#early.size === 0, 'early reports are left')
    for (const [peer, executor] of this.#executors)
      invariant(executor.running.size === 0, `${peer} still runs tasks`)
  }
}

/** What a task meets while leaders change or peers die, as when it stores a part file: neither its own fault nor its peer's. */
const MESH_TROUBLE: ReadonlySet<ErrorCode> = new Set([
  'NO_QUORUM',
  'NOT_LEADER',
  'STALE_LEADER',
  'UNKNOWN_OUTCOME',
  'LEASE_LOST',
  'UNDER_REPLICATED',
  'UNREACHABLE',
  'CONNECTION_LOST',
  'TIMEOUT',
  // That copy is gone with the attempt; the next one reads another, or computes it.
  'KEPT_DAMAGED',
])

/** A job's place among its session's, from 1: job ids are `<session>/<number>`. NaN of anything else. */
function jobNumber(jobId: string): number {
  return Number(jobId.slice(jobId.lastIndexOf('/') + 1))
}

function cancellation(jobId: string, reason: string): WireError {
  return {
    code: 'JOB_CANCELLED',
    message: `job ${jobId} was cancelled: ${reason}`,
    details: { job: jobId, reason },
  }
}

function nondeterministic(jobId: string, shuffle: string): WireError {
  return {
    code: 'TASK_NONDETERMINISTIC',
    message:
      `a lost map output of job ${jobId} came out different when it was computed again, after results of the old one had been ` +
      'handed over: a closure uses time, chance or outside state; make it depend on its input alone, or checkpoint before it',
    details: { job: jobId, shuffle },
  }
}

/** The same failure, as the user sees it, wherever it happened. */
function isSame(a: WireError, b: WireError): boolean {
  return a.code === b.code && textOf(a) === textOf(b)
}

function textOf(error: WireError): unknown {
  return error.details['message'] ?? error.message
}
