/**
 * How much this peer should trust its own findings (Lifeguard, "local health awareness", section IV-A; the scores are
 * memberlist's): 0 is sound. Signs that the fault is its own (it was suspected, its helpers were not heard, it stood
 * still) raise the score, probes answered in time lower it; its own time-outs are `factor` times as long.
 */
export class LocalHealth {
  readonly #scoreMax: number
  #score = 0

  /** @param factorMax bound of `factor` */
  constructor(factorMax: number) {
    this.#scoreMax = factorMax - 1
  }

  /** 1 when sound, at most `factorMax`. */
  get factor(): number {
    return this.#score + 1
  }

  worsen(by = 1): void {
    this.#score = Math.min(this.#scoreMax, this.#score + by)
  }

  improve(): void {
    this.#score = Math.max(0, this.#score - 1)
  }
}
