import { randomBytes } from 'node:crypto'
import {
  asFileId,
  hasCode,
  ShoalError,
  sleep,
  toWire,
  withDeadline,
  type AbortOptions,
  type Logger,
  type WireError,
} from '../../base/index.ts'
import type { FileStatus } from '../../dht/index.ts'
import {
  DETACHED_ROOT,
  detachedDirectory,
  detachedPartAt,
  REASON_MAX,
  type DetachJob,
  type JobChange,
  type JobRecord,
  type JobsCommand,
  type JobsResult,
} from '../../rdd/index.ts'
import { DETACHED_KEEPER } from '../config.ts'
import { detachedDuties, type DetachedDuty } from './detached-duties.ts'

/** What the keeper needs of the peer around it. */
export interface DetachedPorts {
  jobs(): JobRecord[]
  /** Entries of a mesh directory, as the log has it; undefined when there is none. */
  list(path: string): FileStatus[] | undefined
  exists(path: string): boolean
  read(path: string, options: AbortOptions): Promise<Uint8Array>
  record(command: JobsCommand, options: AbortOptions): Promise<JobsResult>
  /** Answers with the refusal, if the log has one; rejects when nobody knows. */
  commitOutput(
    output: {
      path: string
      winner: string
      gathered: { directory: string; files: number }
      overwrite: boolean
      marker: ReturnType<typeof asFileId>
    },
    options: AbortOptions,
  ): Promise<WireError | undefined>
  /** Gone for good; what is not there is no error. */
  remove(path: string, options: AbortOptions): Promise<void>
  /** About log time. */
  epochMs(): number
  log: Logger
}

/** What the leader of jobs does for the keeper. */
export interface DetachedScheduling {
  takeUp(job: JobRecord, planBytes: Uint8Array, done: readonly number[]): void
  accept(jobId: string, partitions: readonly number[]): void
  letGo(jobId: string): void
  /** Leases of their sessions, which have no client to renew them. */
  renew(jobIds: readonly string[]): void
}

type JobEnd = Extract<JobChange, { type: 'job-end' }>

/**
 * Stands in for the client of detached jobs, as part of the leader of one term: takes up those that the log says run, counts the
 * parts that are durable as done, commits their output, and cleans up after them. Keeps nothing that the next leader would need.
 */
export class DetachedKeeper {
  readonly #ports: DetachedPorts
  readonly #scheduling: DetachedScheduling
  readonly #taken = new Set<string>()
  readonly #complete = new Map<string, { tasks: number; retried: number }>()
  readonly #verdicts = new Map<string, JobEnd>()
  /** Duties under way, by what they are about. */
  readonly #busy = new Set<string>()
  /** Jobs with parts that became durable since the last look; those of the look before are counted, reported or not. */
  #landed = new Set<string>()
  #landedBefore = new Set<string>()
  #renewedMs = -Infinity
  readonly #stopped = new AbortController()

  constructor(ports: DetachedPorts, scheduling: DetachedScheduling) {
    this.#ports = ports
    this.#scheduling = scheduling
  }

  stop(): void {
    this.#stopped.abort(new ShoalError('CANCELLED', { what: 'the lead of this peer' }))
  }

  /** The log has the job when this resolves. @throws BUSY, BAD_MESSAGE, NO_QUORUM */
  async accept(job: DetachJob['job']): Promise<JobsResult> {
    const result = await this.#ports.record({ type: 'detach', job }, { signal: this.#stopped.signal })
    this.look()
    return result
  }

  /** The log has it when this resolves. False: the job is not a detached one that runs. */
  async cancel(jobId: string, reason: string): Promise<boolean> {
    if (!this.isOurs(jobId)) return false
    const change: JobEnd = {
      type: 'job-end',
      jobId,
      status: 'cancelled',
      reason: reason.slice(0, REASON_MAX),
    }
    this.#verdicts.set(jobId, change)
    await this.#ports.record({ type: 'jobs', changes: [change] }, { signal: this.#stopped.signal })
    this.#verdicts.delete(jobId)
    this.look()
    return true
  }

  /** The result was read whole. */
  async taken(jobId: string): Promise<void> {
    const changes: JobChange[] = [{ type: 'result-gone', jobId, taken: true }]
    await this.#ports.record({ type: 'jobs', changes }, { signal: this.#stopped.signal })
    this.look()
  }

  /** It runs and needs no client. */
  isOurs(jobId: string): boolean {
    return this.#taken.has(jobId) || this.#isRunning(jobId)
  }

  /** All its parts are there. */
  completed(jobId: string, figures: { tasks: number; retried: number }): void {
    this.#complete.set(jobId, figures)
    this.look()
  }

  failed(jobId: string, error: WireError): void {
    if (this.#verdicts.has(jobId) || !this.#isRunning(jobId)) return
    const reason = error.message.slice(0, REASON_MAX)
    const status = error.code === 'JOB_CANCELLED' ? 'cancelled' : 'failed'
    this.#verdicts.set(jobId, { type: 'job-end', jobId, status, reason, code: error.code })
    this.look()
  }

  /** A file became visible. */
  onFile(path: string): void {
    const part = detachedPartAt(path)
    if (part !== undefined && this.#taken.has(part.jobId)) this.#landed.add(part.jobId)
  }

  /** Whoever was to report parts may never do so: those that are durable count. Called before their tasks would begin again. */
  countParts(jobIds: Iterable<string> = this.#taken): void {
    for (const jobId of jobIds) {
      if (this.#taken.has(jobId)) this.#scheduling.accept(jobId, this.#partsOf(jobId))
    }
  }

  /** Now and then: what is durable but was never reported, leases, and all duties. @param nowMs monotonic, without stalls */
  tick(nowMs: number): void {
    this.countParts(this.#landedBefore)
    this.#landedBefore = this.#landed
    this.#landed = new Set()
    if (nowMs - this.#renewedMs >= DETACHED_KEEPER.renewEveryMs) {
      this.#renewedMs = nowMs
      this.#scheduling.renew(this.#running().map(({ jobId }) => jobId))
    }
    this.look()
  }

  /** Does what there is to do, each thing once at a time. */
  look(): void {
    if (this.#stopped.signal.aborted) return
    const jobs = this.#ports.jobs().filter(({ detached }) => detached !== undefined)
    const directories = this.#ports.list(DETACHED_ROOT) ?? []
    if (jobs.length === 0 && directories.length === 0) return
    const duties = detachedDuties({
      nowMs: this.#ports.epochMs(),
      jobs,
      taken: this.#taken,
      complete: this.#complete,
      verdicts: this.#verdicts,
      directories,
      hasParts: jobId => this.#ports.exists(partsDirectory(jobId)),
      orphanMs: DETACHED_KEEPER.orphanMs,
    })
    for (const duty of duties) void this.#begin(duty)
  }

  async #begin(duty: DetachedDuty): Promise<void> {
    const key = nameOf(duty)
    if (this.#busy.has(key)) return
    this.#busy.add(key)
    const { signal: stopped } = this.#stopped
    try {
      using signal = withDeadline(`${duty.type} of a detached job`, DETACHED_KEEPER.dutyTimeoutMs, stopped)
      await this.#perform(duty, signal)
      if (duty.type === 'expire') {
        this.look()
        // Log time may be behind wall clocks, by as long as the mesh was down: said again, but not all the time.
        await sleep(DETACHED_KEEPER.expireAgainMs, { signal: stopped })
      }
    } catch (error) {
      if (stopped.aborted) return
      this.#ports.log.debug({ duty: key, error: toWire(error) }, 'will be tried again')
      // Not at once: what it waits for takes a moment to come back.
      await sleep(DETACHED_KEEPER.againMs, { signal: stopped }).catch(() => {})
    } finally {
      this.#busy.delete(key)
    }
    this.look()
  }

  async #perform(duty: DetachedDuty, signal: AbortSignal): Promise<void> {
    switch (duty.type) {
      case 'take-up':
        await this.#takeUp(duty.job, signal)
        break
      case 'commit':
        await this.#commit(duty, signal)
        break
      case 'end':
        await this.#ports.record({ type: 'jobs', changes: [duty.end] }, { signal })
        this.#verdicts.delete(duty.end.jobId)
        break
      case 'let-go':
        this.#taken.delete(duty.jobId)
        this.#complete.delete(duty.jobId)
        this.#verdicts.delete(duty.jobId)
        this.#scheduling.letGo(duty.jobId)
        break
      case 'expire':
        await this.#ports.record(
          { type: 'jobs', changes: [{ type: 'result-gone', jobId: duty.jobId, taken: false }] },
          { signal },
        )
        break
      case 'remove':
        await this.#ports.remove(duty.directory, { signal })
        break
    }
  }

  async #takeUp(job: JobRecord, signal: AbortSignal): Promise<void> {
    const { jobId } = job
    let plan: Uint8Array
    try {
      plan = await this.#ports.read(`${detachedDirectory(jobId)}/plan`, { signal })
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      this.failed(jobId, toWire(error))
      return
    }
    // Cancelled meanwhile, or the lead is lost.
    if (signal.aborted || !this.#isRunning(jobId)) return
    this.#taken.add(jobId)
    const done = this.#partsOf(jobId)
    this.#ports.log.info({ jobId, name: job.name, parts: done.length }, 'a detached job is taken up')
    try {
      this.#scheduling.takeUp(job, plan, done)
    } catch (error) {
      this.failed(jobId, toWire(error))
    }
  }

  /** One log entry makes the output visible; said twice, it is the first that did it. */
  async #commit(duty: Extract<DetachedDuty, { type: 'commit' }>, signal: AbortSignal): Promise<void> {
    const { type: _, job, ...figures } = duty
    const { jobId, detached } = job
    if (detached?.output.kind !== 'files') return
    const { path, overwrite } = detached.output
    const gathered = { directory: partsDirectory(jobId), files: detached.partitions }
    const marker = asFileId(randomBytes(FILE_ID_BYTES).toString('hex'))
    const refusal = await this.#ports.commitOutput(
      { path, winner: jobId, gathered, overwrite, marker },
      { signal },
    )
    if (refusal === undefined)
      this.#verdicts.set(jobId, { type: 'job-end', jobId, status: 'done', ...figures })
    else this.failed(jobId, refusal)
  }

  #running(): JobRecord[] {
    return this.#ports.jobs().filter(job => job.detached !== undefined && job.status === 'running')
  }

  #isRunning(jobId: string): boolean {
    return this.#running().some(job => job.jobId === jobId)
  }

  #partsOf(jobId: string): number[] {
    return (this.#ports.list(partsDirectory(jobId)) ?? []).flatMap(({ path }) => {
      const part = detachedPartAt(path)
      return part === undefined ? [] : [part.partition]
    })
  }
}

const FILE_ID_BYTES = 16

export function partsDirectory(jobId: string): string {
  return `${detachedDirectory(jobId)}/out`
}

function nameOf(duty: DetachedDuty): string {
  switch (duty.type) {
    case 'take-up':
    case 'commit':
      return `${duty.type} ${duty.job.jobId}`
    case 'end':
      return `end ${duty.end.jobId}`
    case 'let-go':
    case 'expire':
      return `${duty.type} ${duty.jobId}`
    case 'remove':
      return `remove ${duty.directory}`
  }
}
