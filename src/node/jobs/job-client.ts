import { createHash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { pipe } from 'it-pipe'
import {
  asPeerId,
  fromWire,
  hasCode,
  raceAbort,
  ShoalError,
  systemClock,
  toWire,
  withDeadline,
  type AbortOptions,
  type Logger,
} from '../../base/index.ts'
import {
  acceptResult,
  asJobEvent,
  cancelJob,
  closeJob,
  encodePlan,
  fetchResult,
  JOB_EVENT_VERSION,
  jobUpdate,
  listKept,
  partialOf,
  renewLease,
  resultLost,
  resultReady,
  SCHEDULER,
  submitJob,
  unpersist,
  type BroadcastRef,
  type JobEvent,
  type JobProgress,
  type JobRunner,
  type KeptReport,
  type PartialResult,
  type Plan,
  type RunOptions,
  type SharedAtRequester,
  type TaskOutput,
} from '../../rdd/index.ts'
import { JOB_CLIENT } from '../config.ts'
import type { MeshAccess } from '../mesh-access.ts'
import { collect } from '../relay.ts'
import { OutputClient } from './output-client.ts'
import { ResultQueue } from './result-queue.ts'
import { SharedClient } from './shared-client.ts'

interface OpenJob {
  jobId: string
  name: string
  plan: Uint8Array
  planHash: string
  packages: Plan['packages']
  results: ResultQueue
  failed: PromiseWithResolvers<never>
  /** Aborts when the job is over: nothing of it may reach the leader or an executor later. */
  over: AbortController
  progress: JobProgress | undefined
  /** Highest term of a leader that took the job: what an earlier one still says of it counts no more. */
  term: number
}

/** Connections that a sealed result may break off with, before it is computed again. */
const PULL_TRIES_MAX = 2

/**
 * The requester of jobs: keeps the plan and what it has accepted, so that a job outlives its leader. Runs in a client
 * behind its peer, or in a peer that is its own requester.
 */
export class JobClient implements JobRunner {
  /** Unique to this process, so that numbers never mean an earlier process's jobs. */
  readonly session = randomBytes(6).toString('hex')
  readonly #access: MeshAccess
  readonly #shared: SharedClient
  readonly #output: OutputClient
  readonly #log: Logger
  readonly #jobs = new Map<string, OpenJob>()
  readonly #listeners = new Set<(event: JobEvent) => void>()
  /** Words to the leader that a job is over, still on their way. */
  readonly #releases = new Set<Promise<void>>()
  /** Warnings of packages that were passed on: one each. */
  readonly #warned = new Set<string>()
  #seq = 0
  #timer: NodeJS.Timeout | undefined
  /** When a leader last answered. */
  #heardMs = 0

  constructor(
    access: MeshAccess,
    log: Logger,
    options: { onTaskOutput?: (output: TaskOutput) => void } = {},
  ) {
    this.#access = access
    this.#log = log
    this.#shared = new SharedClient(access, this.session, log)
    this.#output = new OutputClient(access, jobId => this.#jobs.get(jobId)?.name, options.onTaskOutput)
  }

  share(variables: SharedAtRequester): void {
    this.#shared.share(variables)
  }

  dropBroadcast(ref: BroadcastRef, generation: number, destroyed: boolean): void {
    this.#shared.drop(ref, generation, destroyed)
  }

  start(): void {
    this.#access.handle(resultReady, ({ head }) => {
      const job = this.#jobs.get(head.jobId)
      // Nobody waits for them: the executor may drop them.
      if (job === undefined) return { taken: head.results.map(() => true) }
      for (const { inline, checksum } of head.results) {
        if (inline === undefined || crc32(inline) === checksum) continue
        throw new ShoalError('BAD_MESSAGE', {
          type: resultReady.name,
          reason: 'the result differs from its checksum',
        })
      }
      const { executor } = head
      return { taken: head.results.map(result => job.results.offer({ ...result, executor })) }
    })
    this.#access.handle(jobUpdate, ({ head }) => {
      const job = this.#jobs.get(head.jobId)
      if (job === undefined || head.term < job.term) return {}
      const events = this.#emitAll(head.events)
      for (const event of events) if (event.type === 'progress') job.progress = event.progress
      if (head.state === 'failed' && head.error !== undefined) job.failed.reject(fromWire(head.error))
      return {}
    })
    this.#shared.start()
    this.#output.start()
    this.#access.onLeaderChange(() => this.#tellOfAll('leader-changed'))
    this.#access.onReattached(() => this.#tellOfAll('reattached'))
  }

  #tellOfAll(type: 'leader-changed' | 'reattached'): void {
    for (const job of this.#jobs.values()) {
      this.#emit({ ...stamp(job), type })
      void this.#tellLeader(job)
    }
  }

  /** Progress of all jobs of this client, for progress bars. */
  onEvent(listener: (event: JobEvent) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  async *run(plan: Plan, options: RunOptions): AsyncGenerator<PartialResult> {
    const bytes = encodePlan(plan)
    const last = plan.nodes.at(-1)!
    const partitions = plan.only ?? Array.from({ length: last.partitions }, (_, partition) => partition)
    const job: OpenJob = {
      jobId: `${this.session}/${++this.#seq}`,
      name: options.name ?? last.label,
      plan: bytes,
      planHash: createHash('sha256').update(bytes).digest('hex'),
      packages: plan.packages,
      results: new ResultQueue(partitions, options.ordered),
      failed: Promise.withResolvers(),
      over: new AbortController(),
      progress: undefined,
      term: 0,
    }
    job.failed.promise.catch(() => {})
    if (partitions.length === 0) return
    this.#jobs.set(job.jobId, job)
    this.#renewWhileOpen()
    this.#emit({ ...stamp(job), type: 'submitted' })
    const onAbort = (): void => job.failed.reject(abortError(options.signal?.reason, job))
    if (options.signal?.aborted === true) onAbort()
    else options.signal?.addEventListener('abort', onAbort, { once: true })
    let failure: Error | undefined
    let complete = false
    try {
      await Promise.race([this.#submit(job), job.failed.promise])
      this.#shared.provide(plan.broadcasts ?? [], job.over.signal).catch(job.failed.reject)
      yield* this.#results(job)
      complete = true
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error))
      throw error
    } finally {
      job.over.abort(new ShoalError('CANCELLED', { what: `job ${job.jobId}, which is over` }))
      options.signal?.removeEventListener('abort', onAbort)
      this.#jobs.delete(job.jobId)
      this.#output.end(job.jobId)
      if (this.#jobs.size === 0) this.#timer?.unref()
      this.#release(job, complete)
      const settled: JobEvent = { ...stamp(job), type: 'settled' }
      if (failure !== undefined) settled.error = pickError(failure)
      if (job.progress !== undefined) settled.progress = job.progress
      this.#emit(settled)
    }
  }

  async *#results(job: OpenJob): AsyncGenerator<PartialResult> {
    for (;;) {
      const next = await Promise.race([job.results.next(), job.failed.promise])
      if (next === undefined) return
      if ('bytes' in next) {
        yield next
        continue
      }
      const bytes = await this.#pull(job, next)
      if (bytes !== undefined) {
        job.results.accept(next.partition)
        yield partialOf(next.partition, { bytes, updateBytes: next.updateBytes })
      }
    }
  }

  /** A sealed result, whole and verified; undefined when it is lost and will be computed again. */
  async #pull(
    job: OpenJob,
    sealed: { partition: number; executor: string; checksum: number; sizeBytes: number },
  ): Promise<Uint8Array | undefined> {
    const { partition } = sealed
    const executor = asPeerId(sealed.executor)
    const jobId = job.jobId
    try {
      const fetched = async (tries = 1): Promise<Uint8Array> => {
        const { signal } = job.over
        try {
          const head = { jobId, partition }
          const { body } = await this.#access.callPeer(executor, fetchResult, head, { signal })
          return await pipe(body, source => collect(source, sealed.sizeBytes))
        } catch (error) {
          // Perhaps it was not the executor that died, but the peer that passed it on.
          if (tries === PULL_TRIES_MAX || !hasCode(error, 'CONNECTION_LOST')) throw error
          return await fetched(tries + 1)
        }
      }
      const bytes = await Promise.race([fetched(), job.failed.promise])
      if (bytes.byteLength !== sealed.sizeBytes || crc32(bytes) !== sealed.checksum) {
        throw new ShoalError('BAD_MESSAGE', {
          type: fetchResult.name,
          reason: 'the result differs from its checksum',
        })
      }
      this.#access.callPeer(executor, acceptResult, { jobId, partition }).catch((error: unknown) => {
        this.#log.debug({ error: toWire(error) }, 'an executor could not be told that its result was taken')
      })
      return bytes
    } catch (error) {
      if (!this.#jobs.has(jobId)) throw error
      this.#log.debug({ jobId, partition, error: toWire(error) }, 'a sealed result could not be fetched')
      if (job.results.lose(partition, sealed.executor)) void this.#tellLost(job)
      return undefined
    }
  }

  /** Said again with each renewal of the lease and to each new leader, until another attempt offers the result. */
  async #tellLost(job: OpenJob): Promise<void> {
    const { jobId } = job
    const { signal } = job.over
    try {
      for (const { partition, executor } of job.results.lost())
        await this.#access.callLeader(resultLost, { jobId, partition, executor }, { signal })
    } catch (error) {
      this.#log.debug({ jobId, error: toWire(error) }, 'the leader could not be told of a lost result')
    }
  }

  async #submit(job: OpenJob): Promise<void> {
    const { term, warnings } = await this.#access.callLeader(
      submitJob,
      {
        jobId: job.jobId,
        name: job.name,
        session: this.session,
        planHash: job.planHash,
        requester: this.#access.requester(),
        accepted: job.results.accepted(),
        ...(job.packages === undefined ? {} : { packages: job.packages }),
      },
      { body: job.plan, signal: job.over.signal },
    )
    this.#heardMs = systemClock.nowMs()
    job.term = Math.max(job.term, term)
    for (const warning of warnings ?? []) {
      if (this.#warned.has(warning)) continue
      this.#warned.add(warning)
      process.emitWarning(warning, 'ShoalWarning')
    }
  }

  /** A new leader that cannot be told within the caller's patience fails the job. */
  async #tellLeader(job: OpenJob): Promise<void> {
    try {
      await this.#submit(job)
      await this.#tellLost(job)
    } catch (error) {
      if (!this.#jobs.has(job.jobId)) return
      if (hasCode(error, 'NO_QUORUM')) job.failed.reject(error)
      else this.#log.debug({ error: toWire(error) }, 'the new leader could not be told of a job')
    }
  }

  /** What is kept for this session in the mesh stays as long as this process lives. */
  holdSession(): void {
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => void this.#renew(), SCHEDULER.leaseMs / 3).unref()
    void this.#renew()
  }

  #renewWhileOpen(): void {
    this.#timer ??= setInterval(() => void this.#renew(), SCHEDULER.leaseMs / 3)
    // A job under way holds the process: with its only connection lost, nothing else would until its end is known.
    this.#timer.ref()
  }

  /** As long as this process lives, so that map outputs and cached partitions stay for its next job. */
  async #renew(): Promise<void> {
    try {
      const { unknown } = await this.#access.callLeader(renewLease, {
        session: this.session,
        jobs: [...this.#jobs.keys()],
        begun: this.#seq,
      })
      this.#heardMs = systemClock.nowMs()
      for (const jobId of unknown) {
        const job = this.#jobs.get(jobId)
        if (job !== undefined && !job.results.complete()) await this.#tellLeader(job)
      }
      for (const job of this.#jobs.values()) await this.#tellLost(job)
    } catch (error) {
      this.#log.debug({ error: toWire(error) }, 'the lease could not be renewed')
      if (systemClock.nowMs() - this.#heardMs >= SCHEDULER.leaseMs) this.#giveUp(error)
    }
  }

  /** No leader was heard of for the whole lease: there is none, or it has ended the jobs, or nobody passes on its word. */
  #giveUp(error: unknown): void {
    for (const job of this.#jobs.values()) job.failed.reject(error)
  }

  #release(job: OpenJob, complete: boolean): void {
    const { jobId } = job
    const told = complete
      ? this.#access.callLeader(closeJob, { jobId }).then(({ events }) => this.#emitAll(events))
      : this.#access.callLeader(cancelJob, { jobId, reason: 'its requester stopped it' })
    const settled = told.then(
      () => undefined,
      (error: unknown) => {
        this.#log.debug({ jobId, error: toWire(error) }, 'the leader could not be told that a job is over')
      },
    )
    this.#releases.add(settled)
    void settled.then(() => this.#releases.delete(settled))
  }

  forget(fingerprints: readonly string[]): void {
    this.#access.callLeader(unpersist, { fingerprints: [...fingerprints] }).catch((error: unknown) => {
      this.#log.debug({ error: toWire(error) }, 'cached partitions stay until their place is needed')
    })
  }

  async kept(fingerprints: readonly string[], options: AbortOptions = {}): Promise<KeptReport[]> {
    const { kept } = await this.#access.callLeader(listKept, { fingerprints: [...fingerprints] }, options)
    return kept.map(({ session: _session, label: _label, ...report }) => report)
  }

  /** Those of a type that this version knows. */
  #emitAll(said: readonly unknown[] = []): JobEvent[] {
    const events = said.map(asJobEvent).filter(event => event !== undefined)
    for (const event of events) this.#emit(event)
    return events
  }

  #emit(event: JobEvent): void {
    for (const listener of this.#listeners) listener(event)
  }

  /** Open jobs reject with JOB_CANCELLED; resolves when the leader knows which jobs are over, or soon. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    for (const job of this.#jobs.values()) {
      job.failed.reject(new ShoalError('JOB_CANCELLED', { job: job.jobId, reason: 'the mesh was closed' }))
    }
    // The consumers' turn to see it, and so to release their jobs.
    await new Promise<void>(resolve => {
      setImmediate(resolve)
    })
    using deadline = withDeadline('telling the leader that jobs are over', JOB_CLIENT.closeTimeoutMs)
    await raceAbort(Promise.all(this.#releases), deadline).catch(() => undefined)
  }
}

/** Of what the requester itself says. */
function stamp({ jobId, name, term }: OpenJob): {
  v: typeof JOB_EVENT_VERSION
  jobId: string
  name: string
  term: number
  seq: number
  timeMs: number
} {
  return { v: JOB_EVENT_VERSION, jobId, name, term, seq: 0, timeMs: Date.now() }
}

function pickError(error: Error): { code: string; message: string } {
  const { code, message } = toWire(error)
  return { code, message }
}

function abortError(reason: unknown, job: OpenJob): Error {
  if (reason instanceof Error) return reason
  return new ShoalError(
    'JOB_CANCELLED',
    { job: job.jobId, reason: String(reason) },
    `job ${job.name} was cancelled`,
  )
}
