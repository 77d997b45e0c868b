export type { DiskSpaceOptions, MembershipOptions, RaftOptions, VotersOptions } from './config.ts'
export { DiskLogStore, type DiskLogStoreOptions } from './disk-log-store.ts'
export type { StateMachine } from './log-applier.ts'
export { setAside } from './log-damage.ts'
export { salvageLog, seizeLog, type SalvagedLog } from './log-salvage.ts'
export type { Member } from './member-table.ts'
export { Members, type MemberResult } from './members.machine.ts'
export { MembershipDriver, type MembershipDriverInit } from './membership-driver.ts'
export { memberCommand } from './messages.ts'
export type { MemberCommand, MemberInfo, MemberMeta, MemberRecord } from './messages.ts'
export type { SpaceState } from './disk-space.ts'
export {
  ReplicatedLog,
  type ElectionStory,
  type LeaderView,
  type LogStatus,
  type ReplicatedLogInit,
} from './raft-driver.ts'
export type { LivePeer } from './voters.machine.ts'
