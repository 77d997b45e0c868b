export type { MembershipOptions, RaftOptions, VotersOptions } from './config.ts'
export { DiskLogStore, type DiskLogStoreOptions } from './disk-log-store.ts'
export type { Member } from './member-table.ts'
export { Members, type MemberResult } from './members.machine.ts'
export { MembershipDriver, type MembershipDriverInit } from './membership-driver.ts'
export { memberCommand } from './messages.ts'
export type { MemberCommand, MemberInfo, MemberMeta, MemberRecord } from './messages.ts'
export {
  ReplicatedLog,
  type LeaderView,
  type LogStatus,
  type ReplicatedLogInit,
  type StateMachine,
} from './raft-driver.ts'
export type { LivePeer } from './voters.machine.ts'
