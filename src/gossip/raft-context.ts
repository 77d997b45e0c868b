import type { PeerId } from '../base/index.ts'
import type { RaftOptions } from './config.ts'
import type { LogTime } from './log-time.ts'
import type { RaftLog } from './raft-log.ts'
import type { RaftOutbox } from './raft-outbox.ts'

/** What the parts of one `RaftMachine` share: election, leader, and the machine that follows and applies. */
export interface RaftContext {
  readonly self: PeerId
  readonly options: RaftOptions
  readonly log: RaftLog
  readonly out: RaftOutbox
  readonly time: LogTime
  /** Of the step under way; only the machine sets it. */
  nowMs: number
  /** As `nowMs`, without the times at which this process stood still: for all that waits for others. Set by the machine. */
  awakeMs: number
}
