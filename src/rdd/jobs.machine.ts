import { invariant, ShoalError, toWire, type ErrorCode, type WireError } from '../base/errors.ts'
import type { ApplyContext, SubMachine } from '../base/submachine.ts'
import { DETACHED, JOBS } from './config.ts'
import type { DetachedTerms } from './detached-job.ts'

/**
 * The part of the replicated state that knows of jobs. Attached ones are listed so that every peer can list them, not so that
 * they may run. A detached one lives by its record: whoever leads takes it from here, and goes on.
 */

export type JobStatus = 'running' | 'done' | 'failed' | 'cancelled'

export interface JobRecord {
  jobId: string
  name: string
  /** Client that asked, and the peer it was attached to when the job began. */
  requester: string
  relay: string
  planHash: string
  status: JobStatus
  startedMs: number
  endedMs?: number
  /** Why it failed or was cancelled. */
  reason?: string
  /** Code of the error that it failed with. */
  code?: ErrorCode
  tasks?: number
  retried?: number
  /** It needs no client. */
  detached?: DetachedTerms
  /** Of a detached job that is done: until then, in log time, its result waits to be taken. */
  keptUntilMs?: number
}

export type JobChange =
  | {
      type: 'job-start'
      jobId: string
      name: string
      requester: string
      relay: string
      planHash: string
      /** So long before the entry was proposed: short jobs are listed after their end. */
      agoMs: number
    }
  | {
      type: 'job-end'
      jobId: string
      status: 'done' | 'failed' | 'cancelled'
      reason?: string
      code?: ErrorCode
      tasks?: number
      retried?: number
    }
  /** The result of a detached job was taken, or its time is over; of one whose time is not over without `taken`: nothing. */
  | { type: 'result-gone'; jobId: string; taken: boolean }

/** Gathered over a moment, so that many short jobs cost few entries. In order. */
export interface GatheredChanges {
  type: 'jobs'
  changes: JobChange[]
}

/** Accepts a detached job, whose plan is stored by now. The same again changes nothing. */
export interface DetachJob {
  type: 'detach'
  job: Pick<JobRecord, 'jobId' | 'name' | 'requester' | 'relay' | 'planHash'> & { detached: DetachedTerms }
}

export type JobsCommand = GatheredChanges | DetachJob

export type JobsResult = { ok: true } | { ok: false; error: WireError }

/** Names a directory of the mesh, so it has no odd characters in it. */
const DETACHED_ID = /^[0-9a-z]{1,64}\/1$/

/**
 * Reviewer's checklist: `#jobs` holds what runs, whose result is kept, and the last ended ones. Attached ones that run are bounded
 * by their leases, detached ones that run or are kept by `DETACHED.jobsMax`, ended ones by `JOBS.historyMax`.
 */
export class Jobs implements SubMachine<JobsCommand, JobsResult> {
  readonly #jobs = new Map<string, JobRecord>()

  apply(command: JobsCommand, context: ApplyContext): JobsResult {
    if (command.type === 'detach') return this.#detach(command.job, context)
    for (const change of command.changes) this.#change(change, context)
    return { ok: true }
  }

  #detach(job: DetachJob['job'], { timeMs }: ApplyContext): JobsResult {
    const known = this.#jobs.get(job.jobId)
    if (known !== undefined && known.detached !== undefined && known.planHash === job.planHash)
      return { ok: true }
    const refused =
      known !== undefined || !DETACHED_ID.test(job.jobId)
        ? badId(job.jobId)
        : this.#detachedCount() >= DETACHED.jobsMax
          ? tooMany()
          : undefined
    if (refused !== undefined) return { ok: false, error: toWire(refused) }
    this.#jobs.set(job.jobId, { ...job, status: 'running', startedMs: timeMs })
    return { ok: true }
  }

  #change(command: JobChange, context: ApplyContext): void {
    switch (command.type) {
      case 'job-start': {
        // The same job from a new leader goes on; an ended one stays ended.
        if (this.#jobs.has(command.jobId)) break
        const { type: _, agoMs, ...fields } = command
        const startedMs = context.timeMs - agoMs
        this.#jobs.set(command.jobId, { ...fields, status: 'running', startedMs })
        this.#forgetOldest()
        break
      }
      case 'job-end': {
        const job = this.#jobs.get(command.jobId)
        if (job === undefined || job.status !== 'running') break
        const { type: _, jobId: _jobId, ...fields } = command
        const { detached } = job
        Object.assign(job, fields, { endedMs: context.timeMs })
        if (command.status === 'done' && detached?.output.kind === 'result')
          job.keptUntilMs = context.timeMs + detached.output.ttlMs
        this.#forgetOldest()
        break
      }
      case 'result-gone': {
        const job = this.#jobs.get(command.jobId)
        if (job?.keptUntilMs === undefined) break
        if (!command.taken && job.keptUntilMs > context.timeMs) break
        delete job.keptUntilMs
        this.#forgetOldest()
        break
      }
    }
  }

  list(): JobRecord[] {
    return [...this.#jobs.values()]
  }

  get(jobId: string): JobRecord | undefined {
    return this.#jobs.get(jobId)
  }

  snapshot(): unknown {
    return { jobs: this.list() }
  }

  restore(snapshot: unknown): void {
    this.#jobs.clear()
    for (const job of (snapshot as { jobs: JobRecord[] }).jobs) this.#jobs.set(job.jobId, { ...job })
  }

  assertInvariants(): void {
    let history = 0
    for (const job of this.#jobs.values()) {
      invariant(
        (job.status === 'running') === (job.endedMs === undefined),
        `${job.jobId} has ended without an end`,
      )
      invariant(
        job.keptUntilMs === undefined || (job.status === 'done' && job.detached?.output.kind === 'result'),
        `${job.jobId} keeps a result that it cannot have`,
      )
      if (!isHeld(job)) history += 1
    }
    invariant(history <= JOBS.historyMax, `${history} ended jobs are listed`)
    invariant(this.#detachedCount() <= DETACHED.jobsMax, 'detached jobs are bounded')
  }

  #detachedCount(): number {
    let count = 0
    for (const job of this.#jobs.values()) if (job.detached !== undefined && isHeld(job)) count += 1
    return count
  }

  #forgetOldest(): void {
    let ended = 0
    for (const job of this.#jobs.values()) if (!isHeld(job)) ended += 1
    for (const job of this.#jobs.values()) {
      if (ended <= JOBS.historyMax) return
      if (isHeld(job)) continue
      this.#jobs.delete(job.jobId)
      ended -= 1
    }
  }
}

/** Somebody still needs its record. */
function isHeld({ status, keptUntilMs }: JobRecord): boolean {
  return status === 'running' || keptUntilMs !== undefined
}

function badId(jobId: string): ShoalError {
  const reason = `${jobId} is no id of a new detached job`
  return new ShoalError('BAD_MESSAGE', { type: 'detach', reason }, reason)
}

function tooMany(): ShoalError {
  const limit = DETACHED.jobsMax
  const text =
    `the mesh holds at most ${limit} detached jobs that run or whose results wait: ` +
    'take results (shoal job result), or cancel jobs'
  return new ShoalError('BUSY', { what: 'detached jobs', limit }, text)
}
