import type { z } from 'zod'
import {
  asPeerId,
  hasCode,
  raceAbort,
  ShoalError,
  sleep,
  toWire,
  unpack,
  withDeadline,
  type Clock,
  type Logger,
  type MessageType,
  type PeerId,
  type Transport,
} from '../../base/index.ts'
import {
  cancelTasks,
  decodePlan,
  dropCached,
  forgetBroadcast,
  forgetJob,
  forgetSession,
  inventory,
  inventoryBody,
  JOB_EVENTS,
  JOBS,
  JobTracer,
  jobUpdate,
  keptBlockId,
  moveRequester,
  NAME_MAX,
  packLocations,
  partitionInputs,
  plannedStages,
  planStages,
  REASON_MAX,
  runTasks,
  Scheduler,
  SCHEDULER,
  type GatheredChanges,
  type JobChange,
  type JobEvent,
  type JobRecord,
  type JobProgress,
  type JobSpec,
  type KeptChange,
  type PackageNeed,
  type Action,
  type Plan,
  type Requester,
  type SchedulerEffect,
  type dropBroadcast,
  type SchedulerEvent,
} from '../../rdd/index.ts'
import { JOB_LEADER } from '../config.ts'
import { collect, type Deliver } from '../relay.ts'
import { CachedAt, type KeptListing } from './cached-at.ts'
import { checkExecutors } from './package-check.ts'
import { DetachedKeeper, partsDirectory, type DetachedPorts } from './detached-keeper.ts'

export interface JobLeaderPorts {
  transport: Transport
  term: number
  /** Holders of a block, best first. */
  holdersOf(blockId: string): string[]
  /** Peers that may run tasks, this one among them. */
  livePeers(): PeerId[]
  /** Lists the job in the replicated state; may fail without harm to the job. */
  record(command: GatheredChanges): Promise<unknown>
  /** Attached jobs that the replicated state lists as running. */
  listedAsRunning(): string[]
  deliver: Deliver
  /** Keeps what is told of jobs. */
  events: { append(events: readonly JobEvent[]): void; letGo(): void }
  /** Without it there are no detached jobs. */
  detached?: DetachedPorts
  clock: Clock
  log: Logger
}

interface LedJob {
  name: string
  planBytes: Uint8Array
  planHash: string
  session: string
  requester: Requester
  /** Of a detached job: each part is a file of that directory, and all there is to a result. */
  kept?: { directory: string; suffix: string }
  plan: Plan
  spec: JobSpec
  /** Executors that have been sent the plan. */
  sentTo: Set<string>
  /** What the requester is yet to be told; while something is on its way to it, the latest progress waits. */
  update: { said: boolean; sending: boolean; events: JobEvent[]; next: JobEvent | undefined }
}

export interface Submission {
  jobId: string
  name: string
  session: string
  planHash: string
  requester: Requester
  accepted: number[]
}

/**
 * The leader's part of jobs: drives the scheduler machine for one term and performs what it wants done. Dropped whole
 * when the term ends; the next leader builds its own from inventories and plans that are sent again.
 */
export class JobLeader {
  readonly term: number
  readonly #ports: JobLeaderPorts
  readonly #scheduler: Scheduler
  readonly #tracer: JobTracer
  /** Jobs that are closed and whose last tasks are still to be heard of; all end with the tracer's patience. */
  readonly #ending = new Map<string, { update: LedJob['update']; resolve: () => void }>()
  readonly #jobs = new Map<string, LedJob>()
  readonly #executors = new Set<string>()
  readonly #asking = new Set<string>()
  readonly #cachedAt = new CachedAt()
  readonly detached: DetachedKeeper | undefined
  /** Starts and ends that wait for the log, in order, and those on their way: one entry at a time, so none overtakes. */
  #changes: { change: JobChange; atMs: number }[] = []
  #onTheWay: { change: JobChange; atMs: number }[] = []
  /** Executor → jobs that it is to forget. */
  readonly #toForget = new Map<string, Set<string>>()
  #gathering: NodeJS.Timeout | undefined
  /** Since when a job has been listed as running that this leader has not been told of. */
  readonly #unclaimed = new Map<string, number>()
  #tickedMs: number
  /** Time in which this process stood still: no lease could be renewed then, so it counts for none. */
  #stalledMs = 0
  readonly #begun = Promise.withResolvers<void>()
  /** Every executor that was asked when the term began has answered, or has had its time. */
  #hasHeard = false
  readonly #heard = Promise.withResolvers<void>()
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(ports: JobLeaderPorts) {
    this.#ports = ports
    this.term = ports.term
    this.#scheduler = new Scheduler({ term: ports.term })
    this.#tracer = new JobTracer({ term: ports.term })
    this.#tickedMs = ports.clock.nowMs()
    this.detached = ports.detached === undefined ? undefined : this.#keeper(ports.detached)
  }

  #keeper(ports: DetachedPorts): DetachedKeeper {
    return new DetachedKeeper(ports, {
      takeUp: (job, planBytes, done) => this.#takeUp(job, planBytes, done),
      accept: (jobId, partitions) =>
        this.#step({ type: 'result-accepted', jobId, partitions: [...partitions] }),
      letGo: jobId => this.#step({ type: 'job-closed', jobId }),
      renew: jobIds => {
        const nothing = { type: 'lease-renewed', begun: 1 } as const
        this.#stepAll(jobIds.map(jobId => ({ ...nothing, session: sessionOf(jobId), jobs: [jobId] })))
      },
    })
  }

  /** Asks all executors what they have; later answers are merged as they come. */
  start(): void {
    const answers = this.#askNewExecutors()
    void answers.then(() => {
      this.#hasHeard = true
      this.#heard.resolve()
    })
    void Promise.race([answers, sleep(JOB_LEADER.inventoryWaitMs)]).then(() => {
      this.#begun.resolve()
      this.detached?.look()
    })
    this.#timer = setInterval(() => this.#tick(), JOB_LEADER.tickMs)
    this.#timer.unref()
  }

  /**
   * Resolves when the executors have said what they have, or should have: a job submitted before that would be given
   * tasks that another executor is running or has finished under an earlier leader.
   */
  get begun(): Promise<void> {
    return this.#begun.promise
  }

  /**
   * Resolves when a plan may be submitted. One that reads kept partitions waits for every executor that was asked (at most
   * `inventoryTimeoutMs`): what a slow one keeps would be computed again, or, of a local checkpoint, be taken for lost.
   */
  async readyFor(planBytes: Uint8Array): Promise<void> {
    await this.begun
    if (this.#hasHeard) return
    if (decodePlan(planBytes).nodes.some(({ cached }) => cached)) await this.#heard.promise
  }

  stop(): void {
    this.#flush()
    this.#stopped = true
    this.detached?.stop()
    this.#begun.resolve()
    this.#heard.resolve()
    clearInterval(this.#timer)
    const nowMs = this.#ports.clock.nowMs() - this.#stalledMs
    this.#tellOf(this.#tracer.finish({ nowMs, epochMs: Date.now() }))
    this.#ports.events.letGo()
  }

  /**
   * Before a job is submitted that this leader does not know yet. What differs but ought to do, as ready text.
   * @throws PACKAGE_MISSING when an executor lacks a package that closures of the job name
   */
  async checkPackages({ jobId, packages }: { jobId: string; packages?: PackageNeed[] }): Promise<string[]> {
    if (packages === undefined || this.#jobs.has(jobId)) return []
    return await checkExecutors(Array.from(this.#executors, asPeerId), packages, this.#ports)
  }

  submit(submission: Submission, planBytes: Uint8Array): void {
    const { jobId } = submission
    const { requester, planHash } = submission
    const known = this.#jobs.get(jobId)
    const job = known ?? this.#newJob(submission, planBytes)
    const hasMoved = requester.epoch > (known?.requester.epoch ?? 0)
    // A plan that comes late, by way of a peer that has been left since, moves nobody back.
    if (requester.epoch > job.requester.epoch) job.requester = requester
    const spec = { ...job.spec, requester: job.requester, accepted: submission.accepted }
    this.#jobs.set(jobId, job)
    if (hasMoved) for (const peer of this.#executors) this.#tellMoved(peer, jobId, requester)
    if (known === undefined) {
      const name = submission.name.slice(0, NAME_MAX)
      const { client, relay } = requester
      this.#announce(
        { ...job, spec },
        submission.accepted.length > 0 || this.#ports.listedAsRunning().includes(jobId),
      )
      this.#record({ type: 'job-start', jobId, name, requester: client, relay, planHash, agoMs: 0 })
    }
    this.#step({ type: 'job-submitted', job: spec })
  }

  #announce({ name, plan, spec, requester }: LedJob, resumed: boolean): void {
    this.#tracer.announce({
      jobId: spec.jobId,
      name: name.slice(0, NAME_MAX),
      leader: this.#ports.transport.self,
      requester: requester.client,
      action: plan.action.kind,
      resumed,
      stages: plannedStages(plan, spec),
    })
  }

  /** What it holds for the requester would wait at a peer that is gone. */
  #tellMoved(peer: string, jobId: string, requester: Requester): void {
    this.#tell(peer, moveRequester, { term: this.term, jobId, requester })
  }

  /** What is left of a detached job that the log says runs. */
  #takeUp(record: JobRecord, planBytes: Uint8Array, done: readonly number[]): void {
    const { jobId, name, planHash, detached } = record
    const self = this.#ports.transport.self
    const session = sessionOf(jobId)
    const requester = { client: self, relay: self, epoch: 0 }
    const submission = { jobId, name, session, planHash, requester, accepted: [...done] }
    const kept = { directory: partsDirectory(jobId), suffix: detached?.suffix ?? '' }
    const job = { ...this.#newJob(submission, planBytes), kept }
    this.#jobs.set(jobId, job)
    this.#announce(job, done.length > 0)
    this.#step({ type: 'job-submitted', job: job.spec })
  }

  /** @throws JOB_UNKNOWN. The end of a detached job is in the log when this resolves. */
  cancel(jobId: string, reason: string): void | Promise<void> {
    if (this.detached?.isOurs(jobId) === true) return this.#cancelDetached(this.detached, jobId, reason)
    const known = this.#scheduler.hasJob(jobId)
    this.#step({ type: 'job-cancelled', jobId, reason })
    if (known) return
    this.#endUntold(jobId, { status: 'cancelled', reason: reason.slice(0, REASON_MAX) })
    throw new ShoalError('JOB_UNKNOWN', { job: jobId }, `no job ${jobId} is running`)
  }

  async #cancelDetached(keeper: DetachedKeeper, jobId: string, reason: string): Promise<void> {
    await keeper.cancel(jobId, reason)
    this.#step({ type: 'job-cancelled', jobId, reason })
  }

  /**
   * The requester has all it wants. What it should still be told, once the last tasks were heard of: their results may be there
   * before that.
   */
  async close(jobId: string): Promise<JobEvent[]> {
    if (!this.#scheduler.hasJob(jobId)) this.#endUntold(jobId, { status: 'done' })
    const update = this.#jobs.get(jobId)?.update
    this.#step({ type: 'job-closed', jobId })
    if (update === undefined) return []
    if (this.#tracer.isEnding(jobId)) {
      const ended = Promise.withResolvers<void>()
      this.#ending.set(jobId, { update, resolve: ended.resolve })
      await ended.promise
    }
    return update.said || hasSkew(update.events) ? update.events.splice(0) : []
  }

  /** A leader that was never told of the job can still see to it that it is listed as ended, and nothing is kept of it. */
  #endUntold(jobId: string, end: { status: 'done' | 'cancelled'; reason?: string }): void {
    this.#record({ type: 'job-end', jobId, ...end })
    for (const peer of this.#executors) this.#forget(peer, jobId)
  }

  /** Jobs of the session that this leader has not been told of. */
  renew(session: string, jobs: string[], begun: number): string[] {
    this.#step({ type: 'lease-renewed', session, jobs, begun })
    return jobs.filter(jobId => !this.#scheduler.hasJob(jobId))
  }

  dropBroadcast(drop: z.infer<typeof dropBroadcast.request>): void {
    for (const peer of this.#executors) this.#tell(peer, forgetBroadcast, { term: this.term, ...drop })
  }

  knowsSession(session: string): boolean {
    return this.#scheduler.hasSession(session)
  }

  unpersist(fingerprints: string[]): void {
    for (const fingerprint of fingerprints) this.#cachedAt.dropFingerprint(fingerprint)
    for (const peer of this.#executors) this.#tell(peer, dropCached, { term: this.term, fingerprints })
  }

  planOf(jobId: string, planHash: string): Uint8Array {
    const job = this.#jobs.get(jobId)
    if (job === undefined || job.planHash !== planHash) throw new ShoalError('JOB_UNKNOWN', { job: jobId })
    return job.planBytes
  }

  tasksEnded(
    peer: PeerId,
    tasks: readonly Omit<Extract<SchedulerEvent, { type: 'task-ended' }>, 'type' | 'peer'>[],
    kept: readonly KeptChange[],
  ): void {
    this.keptPartitions(peer, kept)
    // A part may be durable although its attempt failed, when only the answer was lost.
    const failed = tasks.filter(({ outcome }) => outcome.type === 'failed' || outcome.type === 'worker-died')
    if (failed.length > 0) this.detached?.countParts(failed.map(({ jobId }) => jobId))
    this.#stepAll(tasks.map(task => ({ type: 'task-ended', peer, ...task })))
  }

  keptPartitions(peer: PeerId, kept: readonly KeptChange[]): void {
    for (const change of kept) this.#cachedAt.change(peer, change)
    // A copy may come to a peer after it was told that the session is over.
    const sessions = new Set(kept.flatMap(({ isGone, session }) => (isGone ? [] : [session])))
    for (const session of sessions) this.#step({ type: 'session-found', session })
  }

  keptListing(fingerprints?: readonly string[]): KeptListing[] {
    return this.#cachedAt.list(fingerprints)
  }

  resultTaken(jobId: string, partition: number): void {
    this.#step({ type: 'result-accepted', jobId, partitions: [partition] })
  }

  resultLost(jobId: string, partition: number, executor: string): void {
    this.#step({ type: 'result-lost', jobId, partition, peer: executor })
  }

  /** Its connection is closed: when it does not answer at once either, its tasks go elsewhere. */
  suspect(peer: PeerId): void {
    if (!this.#executors.has(peer)) return
    this.#forgetExecutor(peer)
    void this.#askNewExecutors()
  }

  list(): { jobId: string; name: string; progress: JobProgress }[] {
    return this.#scheduler.jobs()
  }

  #newJob(submission: Submission, planBytes: Uint8Array): LedJob {
    const plan = decodePlan(planBytes)
    return {
      name: submission.name,
      planBytes,
      planHash: submission.planHash,
      session: submission.session,
      requester: submission.requester,
      plan,
      spec: this.#specOf(submission, plan),
      sentTo: new Set(),
      update: { said: false, sending: false, events: [], next: undefined },
    }
  }

  #specOf(submission: Submission, plan: Plan): JobSpec {
    const { jobId, name, session, requester, accepted } = submission
    const stages = planStages(plan)
    for (const { cached, fingerprint, label, name } of plan.nodes) {
      if (cached) this.#cachedAt.describe(fingerprint, name === undefined ? label : `${name} (${label})`)
    }
    const shuffles: JobSpec['shuffles'] = {}
    const preferred: JobSpec['preferred'] = {}
    const keptAt: JobSpec['keptAt'] = {}
    const holders: JobSpec['holders'] = {}
    for (const stage of stages) {
      if (stage.sink.kind === 'shuffle') {
        const key = `${session}/${plan.nodes[stage.sink.node]!.fingerprint}`
        shuffles[stage.sink.node] = { key, maps: stage.partitions.length }
      }
      const preferredHere: Record<number, string[]> = (preferred[stage.id] = {})
      const keptHere: Record<number, string[]> = (keptAt[stage.id] = {})
      const holdersHere: Record<number, Record<string, string[]>> = (holders[stage.id] = {})
      for (const partition of stage.partitions) {
        const inputs = partitionInputs(plan, stage.root, partition)
        const best: string[] = []
        for (const { fingerprint, partition: index } of inputs.cached) {
          const peers = this.#cachedAt.peers(fingerprint, index)
          if (peers.length === 0) continue
          best.push(...peers)
        }
        if (best.length > 0) keptHere[partition] = [...best]
        for (const blockId of inputs.blocks) {
          const peers = this.#ports.holdersOf(blockId)
          ;(holdersHere[partition] ??= {})[blockId] = peers
          best.push(...peers)
        }
        if (best.length > 0) preferredHere[partition] = best
      }
    }
    const { action } = plan
    const runsOnce =
      action.kind === 'forEach' || (action.kind === 'partition' && action.fn.kind === 'closure')
    const where = { preferred, keptAt, holders }
    return { jobId, name, session, requester, stages, shuffles, ...where, runsOnce, accepted }
  }

  #tick(): void {
    const nowMs = this.#ports.clock.nowMs()
    const lateMs = nowMs - this.#tickedMs - JOB_LEADER.tickMs
    this.#tickedMs = nowMs
    if (lateMs > JOB_LEADER.stallMs) this.#stalledMs += lateMs
    void this.#askNewExecutors()
    this.detached?.tick(nowMs - this.#stalledMs)
    this.#step({ type: 'tick' })
    this.#endUnclaimed(nowMs - this.#stalledMs)
  }

  /** A requester that died together with an earlier leader tells nobody that its job is over. */
  #endUnclaimed(nowMs: number): void {
    const listed = new Set(this.#ports.listedAsRunning())
    for (const jobId of this.#unclaimed.keys()) if (!listed.has(jobId)) this.#unclaimed.delete(jobId)
    for (const jobId of listed) {
      if (this.#scheduler.hasJob(jobId) || this.#isBeingListed(jobId)) {
        this.#unclaimed.delete(jobId)
        continue
      }
      const sinceMs = this.#unclaimed.get(jobId) ?? nowMs
      this.#unclaimed.set(jobId, sinceMs)
      if (nowMs - sinceMs < SCHEDULER.leaseMs) continue
      this.#endUntold(jobId, { status: 'cancelled', reason: 'its requester is gone' })
    }
  }

  /** Executors that are alive and have not said what they have since this term began, or since they were away. */
  async #askNewExecutors(): Promise<void> {
    const live = new Set<string>(this.#ports.livePeers())
    for (const peer of this.#executors) if (!live.has(peer)) this.#forgetExecutor(asPeerId(peer))
    const unknown = [...live].filter(peer => !this.#executors.has(peer))
    await Promise.all(unknown.map(peer => this.#ask(asPeerId(peer))))
  }

  async #ask(peer: PeerId): Promise<void> {
    if (this.#asking.has(peer)) return
    this.#asking.add(peer)
    try {
      const timeoutMs = JOB_LEADER.inventoryTimeoutMs
      using signal = withDeadline(`the inventory of ${peer}`, timeoutMs)
      const request = { term: this.term }
      const { head, body } = await this.#ports.transport.call(peer, inventory, request, { timeoutMs, signal })
      const bytes = await raceAbort(collect(body, JOB_LEADER.inventoryBytesMax), signal)
      const { sessions, kept, running, outputs } = inventoryBody.parse(unpack(bytes))
      if (this.#stopped) return
      this.#executors.add(peer)
      for (const change of kept) this.#cachedAt.change(peer, change)
      this.#step({ type: 'executor-joined', peer, workers: head.workers })
      this.#step({ type: 'inventory-received', peer, running, outputs })
      for (const [jobId, { requester }] of this.#jobs) {
        if (requester.epoch > 0) this.#tellMoved(peer, jobId, requester)
      }
      // A session that nobody renews any more must end here too.
      for (const session of sessions) this.#step({ type: 'session-found', session })
    } catch (error) {
      this.#ports.log.debug({ peer, error: toWire(error) }, 'an executor did not say what it has')
    } finally {
      this.#asking.delete(peer)
    }
  }

  #forgetExecutor(peer: PeerId): void {
    this.#executors.delete(peer)
    this.#cachedAt.dropPeer(peer)
    // What it has finished and not told of is not computed again.
    this.detached?.countParts()
    this.#step({ type: 'executor-gone', peer })
  }

  #step(event: SchedulerEvent): void {
    this.#stepAll([event])
  }

  #stepAll(events: readonly SchedulerEvent[]): void {
    if (this.#stopped) return
    const nowMs = this.#ports.clock.nowMs() - this.#stalledMs
    const effects = this.#scheduler.stepAll(events, nowMs)
    const said = this.#tracer.trace(events, effects, { nowMs, epochMs: Date.now() })
    if (said.length > 0) this.#tellOf(said)
    for (const effect of effects) this.#perform(effect)
  }

  /** Keeps it, and has the requester told of what is not about a single task that went well. */
  #tellOf(said: readonly JobEvent[]): void {
    this.#ports.events.append(said)
    for (const event of said) {
      if (event.type === 'task-started') continue
      if (event.type === 'task-ended' && (event.outcome === 'done' || event.outcome === 'cancelled')) continue
      const ending = this.#ending.get(event.jobId)
      const waiting = (ending?.update ?? this.#jobs.get(event.jobId)?.update)?.events
      waiting?.push(event)
      if (waiting !== undefined && waiting.length >= JOB_EVENTS.pushedMax) waiting.shift()
      if (ending === undefined || event.type !== 'job-ended') continue
      this.#ending.delete(event.jobId)
      ending.resolve()
    }
  }

  #perform(effect: SchedulerEffect): void {
    switch (effect.type) {
      case 'run-tasks':
        void this.#runTasks(effect)
        break
      case 'cancel-tasks':
        this.#tell(effect.peer, cancelTasks, { term: this.term, jobId: effect.jobId, ids: effect.ids })
        break
      case 'progress': {
        const event = this.#tracer.progress(effect, Date.now())
        if (event !== undefined) this.#sendProgress(effect.jobId, event)
        break
      }
      case 'job-done':
        this.#finish(effect.jobId, effect.progress)
        break
      case 'job-failed':
        this.#failed(effect.jobId, effect.error)
        break
      case 'forget-job':
        this.#jobs.delete(effect.jobId)
        for (const peer of effect.peers) this.#forget(peer, effect.jobId)
        break
      case 'nondeterministic':
        // Said by the tracer; there is nothing to do.
        break
      case 'forget-session':
        this.#cachedAt.dropSession(effect.session)
        for (const peer of effect.peers)
          this.#tell(peer, forgetSession, { term: this.term, session: effect.session })
        break
    }
  }

  async #runTasks(effect: Extract<SchedulerEffect, { type: 'run-tasks' }>): Promise<void> {
    const job = this.#jobs.get(effect.jobId)
    if (job === undefined) return
    const { peer, stage } = effect
    // Sent later, it would end what begins now.
    if (this.#toForget.get(peer)?.has(effect.jobId) === true) this.#tellToForget(peer)
    const first = !job.sentTo.has(peer)
    job.sentTo.add(peer)
    const { action } = job.plan
    const isResult = stage.sink.kind === 'result'
    const output = stage.sink.kind === 'shuffle' ? job.spec.shuffles[stage.sink.node]!.key : undefined
    try {
      await this.#ports.transport.call(
        asPeerId(peer),
        runTasks,
        {
          term: this.term,
          jobId: effect.jobId,
          session: job.session,
          planHash: job.planHash,
          requester: job.requester,
          // The partitions of the whole stage are the leader's business.
          stage: { ...stage, partitions: [] },
          shuffles: effect.shuffles.map(packLocations),
          tasks: this.#withKept(job, effect),
          ...(first && job.planBytes.byteLength <= JOBS.inlinePlanBytes ? { plan: job.planBytes } : {}),
          ...(job.plan.packages === undefined ? {} : { packages: job.plan.packages }),
          ...(job.plan.broadcasts === undefined ? {} : { broadcasts: job.plan.broadcasts }),
          ...(isResult ? saved(action, job.kept) : {}),
          ...(output === undefined ? {} : { output }),
          ...(job.plan.taskTimeoutMs === undefined ? {} : { timeoutMs: job.plan.taskTimeoutMs }),
        },
        { timeoutMs: JOB_LEADER.runTimeoutMs },
      )
    } catch (error) {
      const { jobId } = effect
      this.#ports.log.warn({ peer, jobId, error: toWire(error) }, 'tasks could not be handed over')
      if (hasCode(error, 'PACKAGE_MISSING')) {
        // It joined after the job began.
        const outcome = { type: 'failed' as const, error: toWire(error) }
        this.#stepAll(effect.tasks.map(({ id }) => ({ type: 'task-ended', peer, jobId, id, outcome })))
        return
      }
      if (hasCode(error, 'TOO_LARGE')) {
        // No other executor would take them either.
        this.#step({ type: 'job-cancelled', jobId, reason: error.message })
        return
      }
      job.sentTo.delete(peer)
      this.#forgetExecutor(asPeerId(peer))
    }
  }

  /** Where kept partitions are now: more is known of them than when the job came. */
  #withKept(
    { plan }: LedJob,
    { stage, tasks }: Extract<SchedulerEffect, { type: 'run-tasks' }>,
  ): Extract<SchedulerEffect, { type: 'run-tasks' }>['tasks'] {
    if (!plan.nodes.some(({ cached }) => cached)) return tasks
    return tasks.map(({ id, holders }) => {
      const now = { ...holders }
      for (const key of partitionInputs(plan, stage.root, id.partition).cached) {
        const peers = this.#cachedAt.peers(key.fingerprint, key.partition)
        if (peers.length > 0) now[keptBlockId(key)] = peers
      }
      return { id, holders: now }
    })
  }

  /** At most one progress message of a job is on its way; the newest state goes next. */
  #sendProgress(jobId: string, progress: JobEvent): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined || job.kept !== undefined) return
    if (job.update.sending) {
      job.update.next = progress
      return
    }
    job.update.sending = true
    job.update.said = true
    const { epoch } = job.requester
    const events = [...job.update.events.splice(0), progress]
    const head = { jobId, epoch, term: this.term, state: 'running' as const, events }
    void this.#ports
      .deliver(job.requester, jobUpdate, head)
      .catch(() => {})
      .then(() => {
        job.update.sending = false
        const { next } = job.update
        job.update.next = undefined
        if (next !== undefined && this.#scheduler.hasJob(jobId)) this.#sendProgress(jobId, next)
      })
  }

  #finish(jobId: string, progress: JobProgress): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined) return
    const tasks = progress.stages.reduce((sum, stage) => sum + stage.tasks, 0)
    if (job.kept !== undefined) {
      this.detached?.completed(jobId, { tasks, retried: progress.retried })
      return
    }
    this.#record({ type: 'job-end', jobId, status: 'done', tasks, retried: progress.retried })
    // Who has seen no progress has no use for the last of it, unless there is something to think about.
    if (job.update.said || hasSkew(job.update.events)) {
      job.update.said = true
      const last = this.#tracer.progress({ type: 'progress', jobId, progress }, Date.now())
      const events = [...job.update.events.splice(0), ...(last === undefined ? [] : [last])]
      this.#update(job, { jobId, epoch: job.requester.epoch, term: this.term, state: 'done', events })
    }
  }

  #failed(jobId: string, error: ReturnType<typeof toWire>): void {
    const job = this.#jobs.get(jobId)
    if (job === undefined) return
    if (job.kept !== undefined) {
      this.detached?.failed(jobId, error)
      return
    }
    const status = error.code === 'JOB_CANCELLED' ? 'cancelled' : 'failed'
    this.#record({ type: 'job-end', jobId, status, reason: error.message.slice(0, REASON_MAX) })
    const events = job.update.events.splice(0)
    this.#update(job, { jobId, epoch: job.requester.epoch, term: this.term, state: 'failed', error, events })
  }

  #update(job: LedJob, head: z.infer<typeof jobUpdate.request>): void {
    this.#ports.deliver(job.requester, jobUpdate, head).catch((error: unknown) => {
      this.#ports.log.debug({ error: toWire(error) }, 'the requester could not be told how its job ended')
    })
  }

  #record(change: JobChange): void {
    this.#changes.push({ change, atMs: this.#ports.clock.nowMs() })
    this.#gather()
  }

  #forget(peer: string, jobId: string): void {
    const known = this.#toForget.get(peer)
    if (known === undefined) this.#toForget.set(peer, new Set([jobId]))
    else known.add(jobId)
    this.#gather()
  }

  #isBeingListed(jobId: string): boolean {
    return [...this.#changes, ...this.#onTheWay].some(({ change }) => change.jobId === jobId)
  }

  #gather(): void {
    this.#gathering ??= setTimeout(() => this.#flush(), JOB_LEADER.gatherMs)
  }

  #flush(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    for (const peer of this.#toForget.keys()) this.#tellToForget(peer)
    void this.#list()
  }

  #tellToForget(peer: string): void {
    const jobIds = this.#toForget.get(peer)
    if (!this.#toForget.delete(peer) || jobIds === undefined) return
    this.#tell(peer, forgetJob, { term: this.term, jobIds: [...jobIds] })
  }

  async #list(): Promise<void> {
    if (this.#onTheWay.length > 0) return
    while (this.#changes.length > 0) {
      this.#onTheWay = this.#changes.splice(0, JOBS.changesMax)
      const nowMs = this.#ports.clock.nowMs()
      const changes = this.#onTheWay.map(({ change, atMs }) =>
        change.type === 'job-start' ? { ...change, agoMs: Math.round(nowMs - atMs) } : change,
      )
      try {
        await this.#ports.record({ type: 'jobs', changes })
      } catch (error) {
        const jobs = changes.map(({ jobId }) => jobId)
        this.#ports.log.debug({ jobs, error: toWire(error) }, 'jobs could not be listed')
      }
    }
    this.#onTheWay = []
  }

  #tell<Request>(peer: string, type: MessageType<Request, object>, head: Request): void {
    this.#ports.transport.call(asPeerId(peer), type, head).catch((error: unknown) => {
      this.#ports.log.debug({ peer, type: type.name, error: toWire(error) }, 'an executor could not be told')
    })
  }
}

function hasSkew(events: readonly JobEvent[]): boolean {
  return events.some(event => event.type === 'stage-ended' && event.skew !== undefined)
}

/** Where and as what the result tasks of an action write their part files. */
function saved(action: Action, kept: LedJob['kept']): Pick<z.infer<typeof runTasks.request>, 'save'> {
  const format =
    action.kind === 'saveText' ? 'lines' : action.kind === 'saveBytes' ? action.format : undefined
  if (format === undefined || (action.kind !== 'saveText' && action.kind !== 'saveBytes')) return {}
  const copies = action.replication === undefined ? {} : { replication: action.replication }
  if (kept === undefined) return { save: { path: action.path, format, ...copies } }
  return { save: { path: kept.directory, format, ...copies, kept: { suffix: kept.suffix } } }
}

/** Job ids are `<session>/<number>`. */
function sessionOf(jobId: string): string {
  return jobId.slice(0, jobId.lastIndexOf('/'))
}
