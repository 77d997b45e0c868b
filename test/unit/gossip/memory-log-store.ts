import type { LogStore, StoredLog } from '../../../src/gossip/log-store.ts'
import type { PersistEffect, RaftState, Snapshot } from '../../../src/gossip/raft-types.ts'
import { emptyRaftState } from '../../../src/gossip/raft-types.ts'

/** A disk in memory: what was written survives, so a new peer over the same store is a restarted one. */
export class MemoryLogStore implements LogStore {
  state: RaftState = emptyRaftState()
  snapshot: Snapshot | undefined
  writes = 0
  /** What the next write rejects with. */
  failure: Error | undefined
  /** Writes finish only after this. */
  held: Promise<void> | undefined

  async load(): Promise<StoredLog> {
    return { state: structuredClone(this.state), snapshot: this.snapshot }
  }

  async write(batch: readonly PersistEffect[]): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    await this.held
    if (this.failure !== undefined) throw this.failure
    this.writes++
    for (const effect of batch) this.#persist(effect)
  }

  async readSnapshot(): Promise<Snapshot | undefined> {
    return this.snapshot
  }

  async close(): Promise<void> {}

  #persist(effect: PersistEffect): void {
    const { state } = this
    if (effect.hardState !== undefined) state.hardState = { ...effect.hardState }
    if (effect.snapshot !== undefined) {
      const { data: _, ...meta } = effect.snapshot
      this.snapshot = effect.snapshot
      state.snapshot = meta
    }
    if (effect.log === 'reset') state.entries = []
    else if (effect.log !== undefined) {
      const { keepFrom } = effect.log
      state.entries = state.entries.filter(entry => entry.index >= keepFrom)
    }
    const { truncateFrom, entries } = effect
    if (truncateFrom !== undefined) state.entries = state.entries.filter(entry => entry.index < truncateFrom)
    if (entries !== undefined) state.entries.push(...structuredClone(entries))
  }
}
