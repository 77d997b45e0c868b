interface Known {
  timeMs: number
  /** When that was the time, on this process's own monotonic clock. */
  atMs: number
}

/** Log time against a monotonic clock while it is not what the wall clock shows. */
const SLOWEST = 0.75
const FASTEST = 1.25

/**
 * Log time: what replicated leases, sessions and ages are measured in. It is to follow the leaders' wall clocks, for
 * people read it as dates, but somebody may set one of those an hour or a day forward or back, and then nothing must
 * expire or live on because of that. So while the mesh runs, log time goes nearly at the speed of monotonic clocks, a
 * quarter faster or slower until it shows what the leader's wall clock shows. Only a mesh that was down altogether takes
 * its time from a wall clock at once.
 */
export class LogTime {
  #known: Known | undefined

  /** A living leader's command came. What was found on the own disk is of unknown age and does not count. */
  heard(timeMs: number, nowMs: number): void {
    if (this.#known === undefined || timeMs > this.#known.timeMs) this.#known = { timeMs, atMs: nowMs }
  }

  /** Of a command that this peer, as leader, appends now; at least `lastTimeMs`, that of the entry before it. */
  next(wallMs: number, lastTimeMs: number, nowMs: number): number {
    const known = this.#known
    // Exact, for it would stand still if every part of a millisecond was rounded down on its own.
    const timeMs = Math.max(lastTimeMs, known === undefined ? wallMs : slewed(known, wallMs, nowMs))
    this.#known = { timeMs, atMs: nowMs }
    return Math.floor(timeMs)
  }
}

function slewed({ timeMs, atMs }: Known, wallMs: number, nowMs: number): number {
  const elapsedMs = nowMs - atMs
  const slowest = timeMs + elapsedMs * SLOWEST
  const fastest = timeMs + elapsedMs * FASTEST
  return Math.min(Math.max(wallMs, slowest), fastest)
}
