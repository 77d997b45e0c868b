export interface SilenceWatchOptions {
  /** How often is looked, and a silent remote asked. */
  intervalMs: number
  /** Silence after which the remote counts as gone. */
  limitMs: number
  /** False: nothing is under way, and it does not matter whether the remote lives. */
  isNeeded(): boolean
  /** Asks the remote for a sign of life. */
  onQuiet(): void
  onSilent(): void
}

/** Notices that a remote says nothing while something is under way with it. */
export class SilenceWatch {
  readonly #options: SilenceWatchOptions
  #timer: NodeJS.Timeout | undefined
  #heardMs = 0
  #lookedMs = 0

  constructor(options: SilenceWatchOptions) {
    this.#options = options
  }

  /** Something came. */
  heard(): void {
    this.#heardMs = performance.now()
  }

  /** Something is under way: watches until nothing is. */
  start(): void {
    if (this.#timer !== undefined) return
    this.#heardMs = performance.now()
    this.#lookedMs = this.#heardMs
    this.#timer = setInterval(() => this.#look(), this.#options.intervalMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #look(): void {
    const { intervalMs, limitMs } = this.#options
    if (!this.#options.isNeeded()) return this.stop()
    const nowMs = performance.now()
    // When we ourselves were held up, what the remote sent may lie unread: it is not to blame.
    const lateMs = nowMs - this.#lookedMs - intervalMs
    this.#lookedMs = nowMs
    if (lateMs > intervalMs) this.#heardMs += lateMs
    const silentMs = nowMs - this.#heardMs
    if (silentMs >= limitMs) this.#options.onSilent()
    else if (silentMs >= intervalMs / 2) this.#options.onQuiet()
  }
}
