export { Broadcasts, type SharedBroadcast } from './broadcasts.ts'
export { putBroadcast, wantBroadcast } from './messages.ts'
