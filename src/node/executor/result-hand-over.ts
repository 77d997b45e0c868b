import { ShoalError, sleep, toWire, type Logger, type PeerId } from '../../base/index.ts'
import { JOBS, type Requester, type TaskId } from '../../rdd/index.ts'
import { EXECUTOR } from '../config.ts'
import type { Deliver } from '../relay.ts'
import { inChunks } from './chunks.ts'
import type { OutputStore } from './output-store.ts'
import { ResultOffers } from './result-offers.ts'

/** What the hand-over must know of the job; its requester may move while results wait. */
export interface ResultOwner {
  session: string
  requester: Requester
}

interface Made {
  /** Undefined of one that is sealed already. */
  bytes: Uint8Array | undefined
  sizeBytes: number
  checksum: number
  rows: number
  updateBytes?: number
}

export interface ResultHandOverParts {
  self: PeerId
  store: OutputStore
  deliver: Deliver
  /** The job is not over yet. */
  wanted(jobId: string, owner: ResultOwner): boolean
  /** Aborts when the executor closes. */
  signal: AbortSignal
  log: Logger
}

/** Gets results to their requester: small ones at once, large ones sealed here until they are pulled. */
export class ResultHandOver {
  readonly #parts: ResultHandOverParts
  readonly #offers: ResultOffers
  /** Those that wait to be offered again, each with what ends its wait. */
  readonly #waiting = new Map<() => void, ResultOwner>()

  constructor(parts: ResultHandOverParts) {
    this.#parts = parts
    this.#offers = new ResultOffers(parts.self, parts.deliver)
  }

  /**
   * True when the requester has it and nothing need be kept.
   * @param more other tasks of the job are computed here right now
   */
  async handOver(owner: ResultOwner, jobId: string, id: TaskId, made: Made, more: boolean): Promise<boolean> {
    const { store, log } = this.#parts
    const { bytes, checksum } = made
    const small = bytes !== undefined && bytes.byteLength <= JOBS.inlineResultBytes
    // First of all: a requester with a full queue pulls it as soon as it knows of it. The result of a job that ended
    // meanwhile would stay for ever.
    if (!this.#parts.wanted(jobId, owner)) await store.dropResult(jobId, id.partition)
    else if (bytes !== undefined) {
      await store.sealResult({ jobId, session: owner.session, id, checksum }, bytes)
    }
    try {
      if (await this.#offer(owner, jobId, id, made, small ? bytes : undefined, more)) {
        await store.dropResult(jobId, id.partition)
        return true
      }
    } catch (error) {
      log.debug({ jobId, error: toWire(error) }, 'the requester could not be told of a result')
      void this.#offerAgain(owner, jobId, id, made)
    }
    return false
  }

  /** What could not be handed over is offered again at once. */
  requesterMoved(owner: ResultOwner): void {
    for (const [wake, waiting] of this.#waiting) if (waiting === owner) wake()
  }

  /** The body of an answer to `rdd.result.fetch`. */
  async serve(head: { jobId: string; partition: number }): Promise<{
    head: { sizeBytes: number; checksum: number }
    body: AsyncIterable<Uint8Array>
  }> {
    const sealed = await this.#parts.store.result(head.jobId, head.partition)
    if (sealed === undefined) {
      const text = `the result of partition ${head.partition} of job ${head.jobId} is not here (any more)`
      throw new ShoalError('JOB_UNKNOWN', { job: head.jobId }, text)
    }
    const { sizeBytes, checksum, pieces } = sealed
    return { head: { sizeBytes, checksum }, body: chunksOf(pieces) }
  }

  async #offer(
    owner: ResultOwner,
    jobId: string,
    id: TaskId,
    { sizeBytes, checksum, rows, updateBytes }: Made,
    inline: Uint8Array | undefined,
    more: boolean,
  ): Promise<boolean> {
    const offer = {
      id,
      checksum,
      rows,
      sizeBytes,
      ...(updateBytes === undefined ? {} : { updateBytes }),
      ...(inline === undefined ? {} : { inline }),
    }
    return await this.#offers.offer(owner, jobId, offer, more)
  }

  /** The requester's peer may be gone for a moment: a sealed result is offered until it is heard of or forgotten. */
  async #offerAgain(owner: ResultOwner, jobId: string, id: TaskId, made: Made): Promise<void> {
    const { signal, store } = this.#parts
    for (let waitMs: number = EXECUTOR.offerAgainMs; !signal.aborted; waitMs *= 2) {
      await this.#pause(owner, Math.min(waitMs, EXECUTOR.offerAgainMaxMs))
      if (!this.#parts.wanted(jobId, owner) || !store.hasResult(jobId, id.partition)) return
      try {
        await this.#offer(owner, jobId, id, made, undefined, false)
        return
      } catch {
        // Still away; the lease decides when to give up.
      }
    }
  }

  async #pause(owner: ResultOwner, waitMs: number): Promise<void> {
    const woken = Promise.withResolvers<void>()
    this.#waiting.set(woken.resolve, owner)
    const over = new AbortController()
    const signal = AbortSignal.any([this.#parts.signal, over.signal])
    await Promise.race([sleep(waitMs, { signal }), woken.promise]).catch(() => {})
    this.#waiting.delete(woken.resolve)
    over.abort()
  }
}

async function* chunksOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield* inChunks(piece)
}
