import type { SpaceState } from './disk-space.ts'
import type { LogDamage } from './log-damage.ts'
import type { PersistEffect, RaftState, Snapshot } from './raft-types.ts'

export interface StoredLog {
  state: RaftState
  /** The state machine at `state.snapshot`; there is one exactly when there is the other. */
  snapshot?: Snapshot | undefined
  /** Logs that were lost here before, the oldest first. */
  damages?: readonly LogDamage[]
}

/**
 * The durable side of the replicated log. Calls must not overlap, except `readSnapshot` and `stageSnapshot`. After any call has failed
 * nothing is known about the disk (a page that failed to sync is marked clean), so the peer must stop, not retry.
 */
export interface LogStore {
  /** First call, once. Rejects with LOG_CORRUPT when something that was durable is damaged. */
  load(): Promise<StoredLog>
  /** Resolves when all of it is durable; a crash before that leaves a prefix of it. */
  write(batch: readonly PersistEffect[]): Promise<void>
  /** The newest snapshot. */
  readSnapshot(): Promise<Snapshot | undefined>
  /**
   * A snapshot that `write` will soon be given: makes it durable beforehand, so that entries do not wait behind it. May
   * overlap with `write`; nothing is lost when it fails.
   */
  stageSnapshot?(snapshot: Snapshot): Promise<void>
  close(): Promise<void>
  /** A `write` that waits for room on the disk rejects. Before `close`, which must not overlap with it. */
  stopWaiting?(): void
  /** Told of changes, and at once when all is not well. */
  onSpace?(listener: (state: SpaceState) => void): void
}
