import { ShoalError, sleep, toWire, type Logger } from '../../base/index.ts'
import { ACCUMULATOR, accumulatorUpdates, attemptKey, type TaskId } from '../../rdd/index.ts'
import type { Deliver } from '../relay.ts'
import type { ResultOwner } from './result-hand-over.ts'

export interface AccumulatorSenderParts {
  deliver: Deliver
  /** The job is not over yet. */
  wanted(jobId: string, owner: ResultOwner): boolean
  /** Aborts when the executor closes. */
  signal: AbortSignal
  log: Logger
}

/**
 * Tells requesters what map tasks added to accumulators. The output is sealed after that only, so whoever counts it as
 * done, also a leader that finds it later, counts what has been told.
 */
export class AccumulatorSender {
  readonly #parts: AccumulatorSenderParts

  constructor(parts: AccumulatorSenderParts) {
    this.#parts = parts
  }

  /** Resolves when the requester has it. @throws CANCELLED when the job is over before */
  async send(
    owner: ResultOwner,
    task: { jobId: string; shuffle: string; id: TaskId },
    updates: Uint8Array,
  ): Promise<void> {
    const { deliver, signal, log } = this.#parts
    const { jobId, shuffle, id } = task
    const sizeBytes = updates.byteLength
    let waitMs: number = ACCUMULATOR.againMs
    for (let at = 0; at < sizeBytes;) {
      const piece = updates.subarray(at, at + ACCUMULATOR.pieceBytes)
      try {
        const head = { jobId, shuffle, map: id.partition, attempt: attemptKey(id), at, sizeBytes, piece }
        await deliver(owner.requester, accumulatorUpdates, head)
        at += piece.byteLength
        waitMs = ACCUMULATOR.againMs
      } catch (error) {
        if (signal.aborted || !this.#parts.wanted(jobId, owner)) {
          const what = `accumulators of job ${jobId}, which is over`
          throw new ShoalError('CANCELLED', { what }, undefined, { cause: error })
        }
        log.debug({ jobId, error: toWire(error) }, 'the requester could not be told of accumulators')
        await sleep(waitMs, { signal }).catch(() => {})
        waitMs = Math.min(2 * waitMs, ACCUMULATOR.againMaxMs)
        // From the beginning: another process may answer for the requester now.
        at = 0
      }
    }
  }
}
