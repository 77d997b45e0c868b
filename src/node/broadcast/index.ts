export { Broadcasts, type SharedBroadcast } from './broadcasts.ts'
