import { invariant } from '../base/errors.ts'
import type { ApplyContext, SubMachine } from '../base/submachine.ts'
import { JOBS } from './config.ts'

/** The part of the replicated state that lists jobs: so that every peer can, not so that they may run. */

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
  tasks?: number
  retried?: number
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
      tasks?: number
      retried?: number
    }

/** Gathered over a moment, so that many short jobs cost few entries. In order. */
export interface JobsCommand {
  type: 'jobs'
  changes: JobChange[]
}

export type JobsResult = { ok: true }

export class Jobs implements SubMachine<JobsCommand, JobsResult> {
  readonly #jobs = new Map<string, JobRecord>()

  apply({ changes }: JobsCommand, context: ApplyContext): JobsResult {
    for (const change of changes) this.#change(change, context)
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
        job.status = command.status
        job.endedMs = context.timeMs
        if (command.reason !== undefined) job.reason = command.reason
        if (command.tasks !== undefined) job.tasks = command.tasks
        if (command.retried !== undefined) job.retried = command.retried
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
    for (const job of this.#jobs.values()) {
      invariant(
        (job.status === 'running') === (job.endedMs === undefined),
        `${job.jobId} has ended without an end`,
      )
    }
  }

  #forgetOldest(): void {
    let ended = 0
    for (const job of this.#jobs.values()) if (job.status !== 'running') ended += 1
    for (const job of this.#jobs.values()) {
      if (ended <= JOBS.historyMax) return
      if (job.status === 'running') continue
      this.#jobs.delete(job.jobId)
      ended -= 1
    }
  }
}
