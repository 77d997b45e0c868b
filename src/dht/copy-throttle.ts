import { sleep, type Clock } from '../base/index.ts'

/** Saved up while nothing is copied: a second's worth lets small blocks go without any wait. */
const BURST_SECONDS = 1

/**
 * Bounds the bytes per second that this peer pulls for repair, all copies together: a token bucket, of which each chunk takes
 * its size after it came in. One that is in debt waits until the debt is paid, so the rate holds whatever the chunk size.
 */
export class CopyThrottle {
  readonly #bytesPerSecond: number
  readonly #clock: Clock
  #tokens: number
  #filledMs: number

  /** @param bytesPerSecond more than 0; Infinity for no bound. */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond
    this.#clock = clock
    this.#tokens = bytesPerSecond * BURST_SECONDS
    this.#filledMs = clock.nowMs()
  }

  /** Passes the chunks on, at the rate that is left over by the other copies. */
  async *paced(source: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of source) {
      const waitMs = this.take(chunk.byteLength)
      if (waitMs > 0) await sleep(waitMs, { signal })
      yield chunk
    }
  }

  /** Takes so many bytes out of the bucket; answers how long to wait until they are paid. */
  take(bytes: number): number {
    if (this.#bytesPerSecond === Infinity) return 0
    const nowMs = this.#clock.nowMs()
    const filled = ((nowMs - this.#filledMs) / 1_000) * this.#bytesPerSecond
    this.#filledMs = nowMs
    this.#tokens = Math.min(this.#bytesPerSecond * BURST_SECONDS, this.#tokens + filled) - bytes
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens / this.#bytesPerSecond) * 1_000)
  }
}
