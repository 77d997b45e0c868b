import type { PersistEffect, RaftState, Snapshot } from './raft-types.ts'

export interface StoredLog {
  state: RaftState
  /** The state machine at `state.snapshot`; there is one exactly when there is the other. */
  snapshot?: Snapshot | undefined
}

/**
 * The durable side of the replicated log. Calls must not overlap, except `readSnapshot`. After any call has failed
 * nothing is known about the disk (a page that failed to sync is marked clean), so the peer must stop, not retry.
 */
export interface LogStore {
  /** First call, once. Rejects with LOG_CORRUPT when something that was durable is damaged. */
  load(): Promise<StoredLog>
  /** Resolves when all of it is durable; a crash before that leaves a prefix of it. */
  write(batch: readonly PersistEffect[]): Promise<void>
  /** The newest snapshot. */
  readSnapshot(): Promise<Snapshot | undefined>
  close(): Promise<void>
}
