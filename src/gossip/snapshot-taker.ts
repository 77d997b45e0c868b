import type { Logger } from '../base/index.ts'
import type { LogApplier, ReplayedEntry, StateMachine } from './log-applier.ts'
import type { LogStore } from './log-store.ts'
import type { RaftEntry, SnapshotMeta } from './raft-types.ts'

export interface SnapshotTakerPort {
  stateMachine: StateMachine
  applier: LogApplier
  store: LogStore
  logger: Logger
  /** Aborted when the log stops. */
  signal: AbortSignal
  /** A smaller state is written down where it is: that takes less time than to have it done. */
  inlineBytes: number
  /** Longest that making one elsewhere may take. */
  timeoutMs: number
  /** The newest that there is, and what of the log lies between it and `index`. */
  since(index: number): { base: SnapshotMeta | undefined; entries: readonly RaftEntry[] }
  /** Of an applied entry that no snapshot holds yet. */
  metaAt(index: number): SnapshotMeta | undefined
  taken(index: number, data: Uint8Array): void
}

/**
 * Takes snapshots of the state machine without standing in the way of the log: a large one is made in another thread, from
 * the last one and the entries since, and is on the disk before the log hears of it.
 */
export class SnapshotTaker {
  readonly #port: SnapshotTakerPort
  /** Of the last one. */
  #sizeBytes = 0

  constructor(port: SnapshotTakerPort) {
    this.#port = port
  }

  /** Of one that came from elsewhere. */
  set sizeBytes(bytes: number) {
    this.#sizeBytes = bytes
  }

  /** Returns when it is taken, or begun; the log goes on meanwhile. `index` is what is applied now. */
  take(index: number): void {
    const { stateMachine } = this.#port
    const { base, entries } = this.#port.since(index)
    // A snapshot from the leader waits to replace all of it.
    if (base !== undefined && base.index >= index) return
    const commands = entries.filter(entry => entry.kind === 'command')
    const bytes = commands.reduce((sum, { data }) => sum + data.byteLength, this.#sizeBytes)
    if (stateMachine.replay === undefined || bytes <= this.#port.inlineBytes) this.#takeHere()
    else void this.#takeElsewhere(index, base, commands)
  }

  #takeHere(): void {
    const { applier, stateMachine } = this.#port
    this.#taken(applier.index, stateMachine.snapshot())
  }

  async #takeElsewhere(
    index: number,
    base: SnapshotMeta | undefined,
    entries: readonly ReplayedEntry[],
  ): Promise<void> {
    const { store, stateMachine, logger, timeoutMs } = this.#port
    const signal = AbortSignal.any([this.#port.signal, AbortSignal.timeout(timeoutMs)])
    const startedMs = performance.now()
    try {
      const before = base === undefined ? undefined : await store.readSnapshot()
      if (before?.index !== base?.index)
        throw new Error(`snapshot ${base?.index} is not the newest on the disk`)
      const data = await stateMachine.replay!(before?.data, entries, signal)
      const meta = this.#port.metaAt(index)
      // Overtaken by a snapshot from the leader.
      if (this.#port.signal.aborted || meta === undefined) return
      await store.stageSnapshot?.({ ...meta, data })
      if (this.#port.signal.aborted) return
      const tookMs = Math.round(performance.now() - startedMs)
      logger.debug({ index, bytes: data.byteLength, tookMs }, 'a snapshot of the log was made')
      this.#taken(index, data)
    } catch (error) {
      if (this.#port.signal.aborted) return
      logger.warn(
        { error: String(error) },
        'a snapshot could not be made aside, so it is made in the way of the log',
      )
      this.#takeHere()
    }
  }

  #taken(index: number, data: Uint8Array): void {
    this.#sizeBytes = data.byteLength
    this.#port.taken(index, data)
  }
}
