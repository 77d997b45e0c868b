export interface HedgeOptions {
  /** A second holder is never asked sooner than this, however fast the holders usually are; ms. */
  hedgeFloorMs: number
  /** Second holders asked, as a share of the reads. */
  hedgeShareMax: number
}

export interface ReadCounts {
  reads: number
  /** Of those: how often a second holder was asked, and how often it was the faster one. */
  hedged: number
  won: number
}

/** Newest waits from which the usual one is taken. */
const SAMPLES = 128
/** Hedges saved up by reads that needed none: a holder that begins to stall hits several reads at once. */
const SAVED_MAX = 16

/**
 * When it pays to ask a second holder: after nineteen of twenty reads would have had their answer, and for no more than a small
 * share of the reads, so that holders that are all slow are not asked twice as much.
 */
export class HedgePolicy {
  readonly #options: HedgeOptions
  readonly #waitsMs: number[] = []
  #next = 0
  /** Hedges that may be made; one to begin with. */
  #saved = 1
  #delayMs: number
  readonly counts: ReadCounts = { reads: 0, hedged: 0, won: 0 }

  constructor(options: HedgeOptions) {
    this.#options = options
    this.#delayMs = options.hedgeFloorMs
  }

  /** A read begins. */
  onRead(): void {
    this.counts.reads++
    this.#saved = Math.min(SAVED_MAX, this.#saved + this.#options.hedgeShareMax)
  }

  /** So long took the first bytes of a holder. */
  observe(waitMs: number): void {
    this.#waitsMs[this.#next] = waitMs
    this.#next = (this.#next + 1) % SAMPLES
    // Looked at now and then: sorting for every chunk would cost more than it tells.
    if (this.#next % 16 !== 0) return
    const sorted = this.#waitsMs.toSorted((a, b) => a - b)
    this.#delayMs = Math.max(this.#options.hedgeFloorMs, sorted[Math.floor(sorted.length * 0.95)]!)
  }

  /** How long one holder is waited for alone; ms. */
  get delayMs(): number {
    return this.#delayMs
  }

  /** True when a second holder may be asked now; counts it. */
  take(): boolean {
    if (this.#saved < 1) return false
    this.#saved -= 1
    this.counts.hedged++
    return true
  }

  /** The second one was faster. */
  won(): void {
    this.counts.won++
  }
}
