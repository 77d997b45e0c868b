/** Monotonic milliseconds. Machines get the time with each event; only drivers read a clock. */
export interface Clock {
  /** Never goes back; its zero is arbitrary. */
  nowMs(): number
}

export const systemClock: Clock = { nowMs: () => performance.now() }
