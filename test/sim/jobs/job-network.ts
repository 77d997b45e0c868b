import { pick, type Random } from '../../../src/base/index.ts'
import type { VirtualTime } from '../virtual-time.ts'

export interface CallFaults {
  /** Share of questions that arrive twice: a retry whose first copy was only slow. */
  duplication: number
  /** Share of questions and of answers that are this much later than others. */
  slow: number
  maxMs: number
  slowMs: number
}

/** An end of the network: a process that lives, dies and comes back. */
export interface End {
  readonly name: string
  /** Counts lives; what was under way to an earlier one is lost. */
  life: number
  alive: boolean
}

/** How soon the other side notices that a connection closed. */
const NOTICE_MS = 15

/**
 * Questions and answers between processes, as on the frame channels: what one says to another arrives in order, or the
 * connection is closed and both sides are told. Answers to different questions may overtake each other.
 */
export class JobNetwork {
  faults: CallFaults = { duplication: 0, slow: 0, maxMs: 2, slowMs: 0 }
  readonly #time: VirtualTime
  readonly #random: Random
  readonly #cut = new Set<string>()
  /** When the latest question from one to the other arrives. */
  readonly #latestMs = new Map<string, number>()
  /** Counts the connections between two ends: a closed one takes with it what was under way. */
  readonly #connections = new Map<string, number>()
  readonly #onClosed: (watcher: string, other: string) => void

  constructor(time: VirtualTime, random: Random, onClosed: (watcher: string, other: string) => void) {
    this.#time = time
    this.#random = random
    this.#onClosed = onClosed
  }

  reaches(from: End, to: End): boolean {
    return from.alive && to.alive && (from === to || !this.#cut.has(pair(from.name, to.name)))
  }

  /**
   * Asks. `serve` runs at the other end and returns the answer, or undefined to refuse; exactly one of `answered` and
   * `failed` is called, unless the asker died. With `via` both ways go through a third end, which passes on what is said.
   */
  call<Answer>(
    from: End,
    to: End,
    serve: () => Answer | undefined,
    answered: (answer: Answer) => void,
    failed: () => void,
    via: End = to,
  ): void {
    const { life } = from
    const back = (run: () => void): void => {
      if (from.alive && from.life === life) run()
    }
    const hops = [
      [from, via],
      [via, to],
    ] as const
    if (!hops.every(([a, b]) => this.reaches(a, b))) {
      this.#time.after(1 + this.#random.next() * NOTICE_MS, () => back(failed))
      return
    }
    const connections = hops.map(([a, b]) => this.#connection(a, b))
    const lives = [to.life, via.life]
    let over = false
    const settle = (run: () => void): void => {
      if (over) return
      over = true
      back(run)
    }
    const isOpen = (): boolean =>
      to.life === lives[0] &&
      via.life === lives[1] &&
      hops.every(([a, b], i) => this.reaches(a, b) && this.#connection(a, b) === connections[i])
    const copies = this.#random.next() < this.faults.duplication ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      this.#time.after(this.#arrival(from, to) - this.#time.nowMs, () => {
        if (!isOpen() || from.life !== life) return settle(failed)
        const answer = serve()
        if (answer === undefined) {
          this.#time.after(this.#delay(), () => settle(failed))
          return
        }
        this.#time.after(this.#delay(), () => {
          if (isOpen()) settle(() => answered(answer))
          else settle(failed)
        })
      })
    }
  }

  cut(a: string, b: string): void {
    if (a === b || this.#cut.has(pair(a, b))) return
    this.#cut.add(pair(a, b))
    this.close(a, b)
  }

  /** Closes the connection; it can be opened again at once unless it was cut. */
  close(a: string, b: string): void {
    this.#connections.set(pair(a, b), (this.#connections.get(pair(a, b)) ?? 0) + 1)
    for (const [watcher, other] of [
      [a, b],
      [b, a],
    ] as const)
      this.#time.after(this.#random.next() * NOTICE_MS, () => this.#onClosed(watcher, other))
  }

  closeSome(names: readonly string[]): void {
    const [a, b] = [pick(this.#random, names)!, pick(this.#random, names)!]
    if (a !== b) this.close(a, b)
  }

  mend(): void {
    this.#cut.clear()
  }

  #connection(a: End, b: End): number {
    return this.#connections.get(pair(a.name, b.name)) ?? 0
  }

  #arrival(from: End, to: End): number {
    const key = `${from.name}>${to.name}`
    const atMs = Math.max(this.#time.nowMs + this.#delay(), this.#latestMs.get(key) ?? 0)
    this.#latestMs.set(key, atMs)
    return atMs
  }

  #delay(): number {
    const { slow, slowMs, maxMs } = this.faults
    return 0.2 + this.#random.next() * (this.#random.next() < slow ? slowMs : maxMs)
  }
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
