export * from './block-id.ts'
export * from './block-store.ts'
export { dhtCommandSchema } from './command-schemas.ts'
export * from './config.ts'
export * from './dht-commands.ts'
export * from './namespace-commands.ts'
export * from './namespace-types.ts'
export * from './paths.ts'
export { CHUNK_BYTES, readBlockFile, type ReadBlockFileOptions } from './block-file.ts'
export { blockDataPath } from './block-paths.ts'
export { DiskBlockStore, type DiskBlockStoreOptions } from './disk-block-store.ts'
export type { StoreFile, StoreFs } from './store-fs.ts'
export { Namespace } from './namespace.machine.ts'
export { planSteps, type Plan } from './placement.ts'
export { slotOf, type RingPeer } from './ring.ts'
export {
  slotBatch,
  SlotTable,
  type SlotBatch,
  type SlotChange,
  type SlotCommand,
  type SlotResult,
  type SlotRow,
  type SlotView,
} from './slot-table.machine.ts'
export { Splitter, type SplitPiece, type SplitterOptions } from './splitter.ts'
export type { BlockRange } from './block-reader.ts'
export type { CopyRequest, CopyResult } from './block-service.ts'
export * from './file-client.ts'
export type { FileServicePorts } from './file-ports.ts'
export type { OpenedFile, OpenOptions } from './file-reader.ts'
export { FileService } from './file-service.ts'
export type { OpenFile, PutResult, WriteOptions } from './file-writer.ts'
export * from './messages.ts'
export * from './namespace-messages.ts'
export { RepairDriver, type RepairDriverOptions, type RepairDriverPorts } from './repair-driver.ts'
export { replicationHealth, type ReplicationHealth } from './replication-health.ts'
export type { RepairMember, RepairStatus } from './repair.machine.ts'
