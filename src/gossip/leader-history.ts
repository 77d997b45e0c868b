import type { PeerId } from '../base/index.ts'
import type { RaftRole } from './raft-types.ts'

/** One change of who leads, or of what this peer is, as this peer saw it. */
export interface LeaderChange {
  /** Milliseconds since the epoch, by this peer's clock. */
  atMs: number
  term: number
  leader?: PeerId | undefined
  /** Of this peer. */
  role: RaftRole
  reason: string
}

/** Changes remembered; the oldest go first. */
const CHANGES_MAX = 32

/** The last changes of leader and role, for `shoal leader --why`. Readiness is no change of who leads. */
export class LeaderHistory {
  #changes: LeaderChange[] = []

  note(change: LeaderChange): void {
    const last = this.#changes.at(-1)
    if (last?.term === change.term && last.leader === change.leader && last.role === change.role) return
    this.#changes = [...this.#changes, change].slice(-CHANGES_MAX)
  }

  /** Oldest first. */
  changes(): LeaderChange[] {
    return [...this.#changes]
  }
}
