/** The library: attach to a mesh (`connect`), embed a peer of it (`createPeer`), or run jobs in this process (`createLocal`). */
export { ShoalError, type ErrorCode, type ErrorDetails } from './base/index.ts'
export { connect, createPeer, Mesh, viewJob } from './node/index.ts'
export type {
  ConnectOptions,
  JobEvent,
  JobEventsOptions,
  JobHistory,
  JobView,
  MeshOptions,
  Peer,
  PeerOptions,
} from './node/index.ts'
export { createLocal, RDD, StorageLevel } from './rdd/index.ts'
export type {
  ActionOptions,
  DetachedJob,
  DetachedStatus,
  LocalOptions,
  Pair,
  Stats,
  StorageLevelName,
} from './rdd/index.ts'
export { formatTaskOutput } from './rdd/index.ts'
export type { Accumulator, AccumulatorParam, Broadcast, TaskOutput } from './rdd/index.ts'
