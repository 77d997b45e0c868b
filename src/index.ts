/** The library: attach to a mesh (`connect`), or embed a peer of it (`createPeer`). */
export { ShoalError, type ErrorCode, type ErrorDetails } from './base/index.ts'
export { connect, createPeer, Mesh } from './node/index.ts'
export type { ConnectOptions, JobEvent, MeshOptions, Peer, PeerOptions } from './node/index.ts'
export { RDD } from './rdd/index.ts'
