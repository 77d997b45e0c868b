import { raceAbort, withDeadline } from '../base/index.ts'
import type { AbortOptions, ApplyContext, Clock, ShoalError } from '../base/index.ts'
import { inSlices } from './in-slices.ts'
import type { RaftEntry, Snapshot } from './raft-types.ts'

export type ReplayedEntry = Extract<RaftEntry, { kind: 'command' }>

/** What the log is a log of. Deterministic; an `apply` that throws stops the peer. */
export interface StateMachine {
  apply(command: Uint8Array, context: ApplyContext): unknown
  snapshot(): Uint8Array
  /** Works while it is iterated; whoever looks between two steps sees the old state, and after the last one the new. */
  restore(snapshot: Uint8Array): Iterable<unknown>
  /**
   * The snapshot after those entries on top of an earlier snapshot, or of nothing, made in another thread. May take over the
   * bytes of `base`. Without it all snapshots are made by `snapshot`, and nothing else happens meanwhile.
   */
  replay?(
    base: Uint8Array | undefined,
    entries: readonly ReplayedEntry[],
    signal: AbortSignal,
  ): Promise<Uint8Array>
}

export interface LogApplierInit {
  stateMachine: StateMachine
  /** What the state machine holds already. */
  appliedIndex: number
  clock: Clock
  /** Aborted when the log stops: nothing is applied any more. */
  signal: AbortSignal
}

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
    await inSlices(this.#applying(entries, keepResults), this.#clock, {
      signal: this.#signal,
      onPause: () => this.#tellWaiters(),
    })
    this.#tellWaiters()
  }

  *#applying(entries: readonly RaftEntry[], keepResults: boolean): Generator<undefined> {
    for (const entry of entries) {
      if (entry.kind === 'command') {
        const { index, term, timeMs } = entry
        const result = this.#stateMachine.apply(entry.data, { index, term, timeMs })
        if (keepResults) this.#results.set(index, result)
      }
      this.#index = entry.index
      yield
    }
  }

  /** What `apply` returned for an entry of the last call. */
  resultOf(index: number): unknown {
    return this.#results.get(index)
  }

  async restore(snapshot: Snapshot): Promise<void> {
    this.#results.clear()
    await inSlices(this.#stateMachine.restore(snapshot.data), this.#clock, { signal: this.#signal })
    if (this.#signal.aborted) return
    this.#index = snapshot.index
    this.#tellWaiters()
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

  #tellWaiters(): void {
    for (const [waiter, wanted] of this.#waiters) if (wanted <= this.#index) waiter.resolve()
  }
}
