import { invariant } from '../../base/index.ts'
import { BODY_WINDOW_BYTES, BODY_WINDOW_BYTES_MIN } from './config.ts'
import type { BodyBudgetLimits } from './config.ts'

interface Ticket {
  windowBytes: number
  onAdmit: (windowBytes: number) => void
}

/**
 * Credit for the inbound bodies of one class. The first bodies get the full window, later ones a share of what is
 * left, and every admitted one at least the minimum, so that reading many at once never stalls; past `bodiesMax` they
 * wait. The sum of all windows never exceeds `bytesMax`.
 */
export class BodyBudget {
  readonly #limits: BodyBudgetLimits
  readonly #admitted = new Set<Ticket>()
  readonly #waiting = new Set<Ticket>()
  #grantedBytes = 0

  /** @throws when the minimum windows of `bodiesMax` bodies do not fit in `bytesMax`. */
  constructor(limits: BodyBudgetLimits) {
    invariant(limits.bodiesMax * BODY_WINDOW_BYTES_MIN <= limits.bytesMax, 'a budget holds its least windows')
    this.#limits = limits
  }

  get bodies(): number {
    return this.#admitted.size
  }

  get grantedBytes(): number {
    return this.#grantedBytes
  }

  /**
   * Asks for a window; `onAdmit` may be called at once.
   * @returns what gives the window, or the place in the queue, back; harmless twice.
   */
  admit(onAdmit: (windowBytes: number) => void): () => void {
    const ticket: Ticket = { windowBytes: 0, onAdmit }
    this.#waiting.add(ticket)
    this.#admitWaiting()
    return () => {
      if (this.#waiting.delete(ticket)) return
      if (!this.#admitted.delete(ticket)) return
      this.#grantedBytes -= ticket.windowBytes
      this.#admitWaiting()
    }
  }

  #admitWaiting(): void {
    for (const ticket of this.#waiting) {
      if (this.#admitted.size >= this.#limits.bodiesMax) return
      this.#waiting.delete(ticket)
      this.#admitted.add(ticket)
      const reservedBytes = (this.#limits.bodiesMax - this.#admitted.size) * BODY_WINDOW_BYTES_MIN
      const freeBytes = this.#limits.bytesMax - this.#grantedBytes - reservedBytes
      ticket.windowBytes = Math.max(
        BODY_WINDOW_BYTES_MIN,
        Math.min(BODY_WINDOW_BYTES, Math.floor(freeBytes / 4)),
      )
      this.#grantedBytes += ticket.windowBytes
      invariant(this.#grantedBytes <= this.#limits.bytesMax, 'windows stay inside the budget')
      ticket.onAdmit(ticket.windowBytes)
    }
  }
}
