import { createHash, randomBytes } from 'node:crypto'
import { fromWire, hasCode, ShoalError, sleep, type AbortOptions, type ErrorCode } from '../../base/index.ts'
import type { FileClient } from '../../dht/index.ts'
import {
  cancelJob,
  decodeRows,
  detachedDirectory,
  detachedStatus,
  detachJob,
  encodePlan,
  JOBS,
  partName,
  takeResult,
  type DetachedFold,
  type DetachedJob,
  type DetachedStatus,
  type DetachedTerms,
  type Detacher,
  type Plan,
  type ResultOptions,
} from '../../rdd/index.ts'
import { DETACHED_CLIENT } from '../config.ts'
import type { MeshAccess } from '../mesh-access.ts'
import { partsDirectory } from './detached-keeper.ts'

type Standing = Awaited<ReturnType<DetachedClient['standing']>>

/** Hands jobs over to the mesh, and asks what became of them. Nothing of a job is kept here. */
export class DetachedClient implements Detacher {
  readonly #access: MeshAccess
  readonly #files: FileClient

  constructor(access: MeshAccess, files: FileClient) {
    this.#access = access
    this.#files = files
  }

  /** The plan is stored first, so that whoever reads of the job in the log can go on with it. */
  async detach<R>(
    plan: Plan,
    terms: DetachedTerms,
    options: AbortOptions & { name: string },
  ): Promise<DetachedJob<R>> {
    const { signal, name } = options
    const jobId = `${randomBytes(SESSION_BYTES).toString('hex')}/1`
    const bytes = encodePlan(plan)
    const planHash = createHash('sha256').update(bytes).digest('hex')
    await this.#files.mkdir(partsDirectory(jobId), { parents: true, signal })
    const path = `${detachedDirectory(jobId)}/plan`
    await persistently(
      () => this.#files.put(path, oneChunk(bytes), { format: 'binary', overwrite: true, signal }),
      signal,
    )
    const head = { jobId, name, planHash, requester: this.#access.requester(), detached: terms }
    await persistently(() => this.#access.callLeader(detachJob, head, { signal }), signal)
    return this.job<R>(jobId)
  }

  job<R>(jobId: string): DetachedJob<R> {
    let taken: Promise<unknown> | undefined
    return {
      jobId,
      status: async (options = {}) => statusOf(await this.standing(jobId, 0, options)),
      wait: async (options = {}) => void (await this.#ended(jobId, options)),
      result: async (options = {}) => {
        taken ??= this.#result(jobId, options)
        // One that was called off, or could not be reached, may be asked for again.
        taken.catch(() => (taken = undefined))
        return (await taken) as R
      },
      cancel: async (reason = 'asked to', options = {}) => {
        await this.#access.callLeader(cancelJob, { jobId, reason }, options)
      },
    }
  }

  async standing(jobId: string, waitMs: number, options: AbortOptions) {
    const { signal } = options
    const timeoutMs = waitMs + DETACHED_CLIENT.answerTimeoutMs
    const ask = async () =>
      (await this.#access.callAttached(detachedStatus, { jobId, waitMs }, { signal, timeoutMs })).head
    return await persistently(ask, signal)
  }

  /** @throws what the job failed with */
  async #ended(jobId: string, options: AbortOptions): Promise<Standing> {
    for (;;) {
      const standing = await this.standing(jobId, JOBS.standingWaitMs, options)
      if (standing.status === 'done') return standing
      if (standing.status !== 'running') throw failureOf(standing)
    }
  }

  async #result(jobId: string, { keep = false, ...options }: ResultOptions): Promise<unknown> {
    const { detached, keptUntilMs } = await this.#ended(jobId, options)
    const { output, partitions } = detached
    if (output.kind === 'files') return undefined
    if (keptUntilMs === undefined) throw gone(jobId)
    const rows: unknown[] = []
    try {
      for (let partition = 0; partition < partitions; partition++) {
        const path = `${partsDirectory(jobId)}/${partName(partition, detached.suffix)}`
        const chunks: Uint8Array[] = []
        for await (const chunk of this.#files.get(path, options)) chunks.push(chunk)
        // Columns of numbers are views that must stand at multiples of eight.
        if (chunks.length > 0)
          for (const row of decodeRows(new Uint8Array(Buffer.concat(chunks)))) rows.push(row)
      }
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) throw gone(jobId)
      throw error
    }
    const result = folded(output.fold, rows)
    // Without the word to the mesh it waits there until its time is over.
    if (!keep) await this.#access.callLeader(takeResult, { jobId }, options).catch(() => undefined)
    return result
  }
}

const SESSION_BYTES = 6

/** Another peer can answer: what is asked here may be asked twice. */
const PEER_GONE: readonly ErrorCode[] = ['CONNECTION_LOST', 'UNREACHABLE', 'CANCELLED', 'UNKNOWN_OUTCOME']

async function persistently<T>(ask: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask()
    } catch (error) {
      signal?.throwIfAborted()
      if (tries === DETACHED_CLIENT.triesMax || !PEER_GONE.some(code => hasCode(error, code))) throw error
      await sleep(Math.min(DETACHED_CLIENT.againMs * 2 ** tries, DETACHED_CLIENT.againMaxMs), { signal })
    }
  }
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes
}

function folded(fold: DetachedFold, rows: unknown[]): unknown {
  switch (fold) {
    case 'rows':
      return rows
    case 'sum':
      return rows.reduce<number>((sum, row) => sum + (row as number), 0)
    case 'row':
      if (rows.length === 0)
        throw new ShoalError('EMPTY_RDD', { action: 'reduce' }, 'reduce() of an RDD without elements')
      return rows[0]
  }
}

function statusOf(standing: Standing): DetachedStatus {
  const { jobId, name, status, startedMs, endedMs, reason, keptUntilMs, detached, partsDone } = standing
  const { output, partitions } = detached
  return {
    jobId,
    name,
    status,
    startedMs,
    ...(endedMs !== undefined && { endedMs }),
    ...(reason !== undefined && { reason }),
    ...(keptUntilMs !== undefined && { keptUntilMs }),
    parts: { done: partsDone, of: partitions },
    ...(output.kind === 'files' && { path: output.path }),
  }
}

function failureOf({ jobId, status, reason = status, code }: Standing): ShoalError {
  if (status === 'cancelled' || code === undefined) {
    const text = `detached job ${jobId} was cancelled: ${reason}`
    return new ShoalError('JOB_CANCELLED', { job: jobId, reason }, text)
  }
  // Of the error only its code and its words are in the log.
  return fromWire({ code, message: reason, details: { job: jobId } })
}

function gone(jobId: string): ShoalError<'RESULT_GONE'> {
  const text = `the result of ${jobId} is gone: it was taken before, or its time is over; run the job again`
  return new ShoalError('RESULT_GONE', { job: jobId }, text)
}
