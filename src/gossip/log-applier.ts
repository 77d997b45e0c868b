import { setImmediate as nextTurn } from 'node:timers/promises'
import { raceAbort, withDeadline } from '../base/index.ts'
import type { AbortOptions, ApplyContext, Clock, ShoalError } from '../base/index.ts'
import type { RaftEntry, Snapshot } from './raft-types.ts'

/** What the log is a log of. All three are synchronous and deterministic; an `apply` that throws stops the peer. */
export interface StateMachine {
  apply(command: Uint8Array, context: ApplyContext): unknown
  snapshot(): Uint8Array
  restore(snapshot: Uint8Array): void
}

export interface LogApplierInit {
  stateMachine: StateMachine
  /** What the state machine holds already. */
  appliedIndex: number
  clock: Clock
  /** Aborted when the log stops: nothing is applied any more. */
  signal: AbortSignal
}

/** Work between two turns of the event loop, in milliseconds: heartbeats must get through a long apply. */
const SLICE_MS = 8

/** Brings committed entries to the state machine, in order, and tells whoever waits for one of them. */
export class LogApplier {
  readonly #stateMachine: StateMachine
  readonly #clock: Clock
  readonly #signal: AbortSignal
  #index: number
  /** Results of the entries applied last, until those that proposed them are told. */
  #results = new Map<number, unknown>()
  /** Each with the index that it waits for, and with a deadline of its own. */
  #waiters = new Map<PromiseWithResolvers<void>, number>()

  constructor({ stateMachine, appliedIndex, clock, signal }: LogApplierInit) {
    this.#stateMachine = stateMachine
    this.#index = appliedIndex
    this.#clock = clock
    this.#signal = signal
  }

  /** Everything up to here is applied. */
  get index(): number {
    return this.#index
  }

  /** @param keepResults whether somebody here proposed and will ask for `resultOf` */
  async apply(entries: readonly RaftEntry[], keepResults: boolean): Promise<void> {
    this.#results.clear()
    let sliceEndMs = this.#clock.nowMs() + SLICE_MS
    for (const entry of entries) {
      if (entry.kind === 'command') {
        const { index, term, timeMs } = entry
        const result = this.#stateMachine.apply(entry.data, { index, term, timeMs })
        if (keepResults) this.#results.set(index, result)
      }
      if (this.#clock.nowMs() < sliceEndMs) continue
      this.#advance(entry.index)
      await nextTurn()
      if (this.#signal.aborted) return
      sliceEndMs = this.#clock.nowMs() + SLICE_MS
    }
    this.#advance(entries.at(-1)!.index)
  }

  /** What `apply` returned for an entry of the last call. */
  resultOf(index: number): unknown {
    return this.#results.get(index)
  }

  snapshot(): Uint8Array {
    return this.#stateMachine.snapshot()
  }

  restore(snapshot: Snapshot): void {
    this.#stateMachine.restore(snapshot.data)
    this.#results.clear()
    this.#advance(snapshot.index)
  }

  /** Until that entry is applied here. Rejects with TIMEOUT, CANCELLED, or the reason of `failAll`. */
  async wait(index: number, timeoutMs: number, { signal }: AbortOptions): Promise<void> {
    if (index <= this.#index) return
    using deadline = withDeadline(`applying log entry ${index}`, timeoutMs, signal)
    const waiter = Promise.withResolvers<void>()
    this.#waiters.set(waiter, index)
    try {
      await raceAbort(waiter.promise, deadline)
    } finally {
      this.#waiters.delete(waiter)
    }
  }

  failAll(reason: ShoalError): void {
    for (const waiter of this.#waiters.keys()) waiter.reject(reason)
  }

  #advance(index: number): void {
    this.#index = index
    for (const [waiter, wanted] of this.#waiters) if (wanted <= index) waiter.resolve()
  }
}
