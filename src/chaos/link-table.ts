/** What is wrong with the way from one end to another. The way back has faults of its own. */
export interface LinkFault {
  /** Later by so much, in milliseconds; order is kept. @default 0 */
  delayMs?: number
  /** And by up to so much more, evenly. @default 0 */
  jitterMs?: number
  /** Nothing arrives, and nobody is told: what is sent meanwhile comes when it is over. @default false */
  stall?: boolean
  /** Bytes per second. @default unlimited */
  bytesPerSecond?: number
  /** Connections between the two are reset, and new ones refused. @default false */
  cut?: boolean
}

const NONE: LinkFault = {}

/** The faults of all ways between named ends. */
export class LinkTable {
  readonly #faults = new Map<string, Map<string, LinkFault>>()
  readonly #listeners = new Set<() => void>()

  of(from: string, to: string): LinkFault {
    return this.#faults.get(from)?.get(to) ?? NONE
  }

  /** Replaces the fault of one way, one direction. */
  set(from: string, to: string, fault: LinkFault): void {
    this.#put(from, to, fault)
    this.#changed()
  }

  /** Replaces the faults of both directions between each of some ends and each of others. */
  between(some: readonly string[], others: readonly string[], fault: LinkFault): void {
    for (const a of some) {
      for (const b of others) {
        this.#put(a, b, fault)
        this.#put(b, a, fault)
      }
    }
    this.#changed()
  }

  /** All ways are as good as new. */
  heal(): void {
    this.#faults.clear()
    this.#changed()
  }

  /** @returns what ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #put(from: string, to: string, fault: LinkFault): void {
    const ways = this.#faults.get(from) ?? new Map<string, LinkFault>()
    ways.set(to, fault)
    this.#faults.set(from, ways)
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
