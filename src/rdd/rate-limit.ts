/** Lets so many pass at once and so many a second from then on (a token bucket); counts the others exactly. */
export class RateLimit {
  readonly #burst: number
  readonly #perMs: number
  #tokens: number
  #atMs: number

  constructor(options: { burst: number; perSecond: number; nowMs: number }) {
    this.#burst = options.burst
    this.#perMs = options.perSecond / 1_000
    this.#tokens = options.burst
    this.#atMs = options.nowMs
  }

  /** True when one more may pass now. */
  pass(nowMs: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, nowMs - this.#atMs) * this.#perMs)
    this.#atMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }
}
