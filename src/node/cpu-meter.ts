import type { Clock } from '../base/index.ts'
import { REPORT } from './config.ts'

/** How many cores a process keeps busy, from its processor time at two moments. */
export class CpuMeter implements Disposable {
  readonly #clock: Pick<Clock, 'nowMs'>
  readonly #spentMs: () => number
  #before: { atMs: number; spentMs: number }
  #last: { atMs: number; spentMs: number }
  #timer: NodeJS.Timeout | undefined

  /** @param spentMs processor time so far */
  constructor(clock: Pick<Clock, 'nowMs'>, spentMs: () => number) {
    this.#clock = clock
    this.#spentMs = spentMs
    this.#before = this.#last = this.#now()
  }

  start(): void {
    this.#timer = setInterval(() => this.sample(), REPORT.cpuWindowMs)
    this.#timer.unref()
  }

  /** Begins another window; the one before is kept, so that there is always a whole one to look back on. */
  sample(): void {
    this.#before = this.#last
    this.#last = this.#now()
  }

  cores(): number {
    const { atMs, spentMs } = this.#now()
    const tookMs = atMs - this.#before.atMs
    return tookMs <= 0 ? 0 : Math.max(0, (spentMs - this.#before.spentMs) / tookMs)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #now(): { atMs: number; spentMs: number } {
    return { atMs: this.#clock.nowMs(), spentMs: this.#spentMs() }
  }
}

/** All threads of this process. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}
