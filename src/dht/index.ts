export * from './block-id.ts'
export * from './block-store.ts'
export * from './config.ts'
export * from './dht-commands.ts'
export * from './namespace-types.ts'
export * from './paths.ts'
export { CHUNK_BYTES, readBlockFile, type ReadBlockFileOptions } from './block-file.ts'
export { DiskBlockStore, type DiskBlockStoreOptions, type StoreFs } from './disk-block-store.ts'
export { Namespace } from './namespace.machine.ts'
export { replicaOwners, slotOf, type RingPeer } from './ring.ts'
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
export {
  PARTITION_BYTES,
  PARTITION_BYTES_MAX,
  Splitter,
  type SplitPiece,
  type SplitterOptions,
} from './splitter.ts'
