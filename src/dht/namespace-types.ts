import type { BlockId, FileId, PeerId } from '../base/index.ts'

/** How a file was cut: at line ends, at line ends outside quotes, or at fixed sizes. */
export type FileFormat = 'lines' | 'csv' | 'binary'

/** One stored partition as the writer reports it: every holder has acknowledged it as durable. */
export interface BlockReport {
  index: number
  blockId: BlockId
  sizeBytes: number
  /** Lines that begin in it, when the writer counted. */
  lines?: number
  /** 64 hexadecimal digits over the whole block. */
  sha256: string
  holders: PeerId[]
  /** It ends inside a line (one longer than the splitter's hard limit): its file cannot be read as text. */
  midLine?: boolean
}

/** One entry of a directory, or the answer of `stat`. */
export interface FileStatus {
  path: string
  /** Last part of the path; '' for the root. */
  name: string
  type: 'file' | 'directory'
  /** Of a file; 0 for a directory. */
  sizeBytes: number
  /** Log time of the commit (file) or of the last change of its entries (directory). */
  modifiedMs: number
  /** Only files. */
  fileId?: FileId
  partitions?: number
  replication?: number
  format?: FileFormat
  partitionBytes?: number
  /** Only directories: number of entries. */
  children?: number
  /** Stored, not enforced. */
  mode?: number
  owner?: string
  group?: string
}

/** One committed partition and who has it. */
export interface BlockStatus {
  blockId: BlockId
  index: number
  slot: number
  sizeBytes: number
  /** Offset of its first byte in the file. */
  offset: number
  sha256: string
  lines?: number
  midLine?: boolean
  holders: readonly PeerId[]
  /** Copies its file wants. */
  replication: number
}

/** A block as repair sees it, of a visible file or of an open write. */
export interface SlotBlock {
  blockId: BlockId
  sizeBytes: number
  sha256: string
  holders: readonly PeerId[]
  replication: number
}

export interface UnderReplicatedBlock {
  path: string
  blockId: BlockId
  index: number
  /** Holders that live; 0 means the block is missing. */
  live: number
  wanted: number
}

export interface ReplicaCounts {
  /** Blocks of files (snapshots included) with fewer living holders than wanted, or than there are living peers. */
  underReplicated: number
  /** Of those, blocks without any living holder. */
  missing: number
  /** Blocks that all living peers hold, and that yet have fewer copies than wanted: only more peers can help. */
  short: number
}

export interface Usage {
  files: number
  directories: number
  blocks: number
  /** Once. */
  sizeBytes: number
  /** With every copy. */
  storedBytes: number
}

/** Something in the trash. */
export interface TrashEntry {
  /** Where it was. */
  path: string
  /** Where it is. */
  trashPath: string
  /** Log time of its removal, which also names it: no two are the same. */
  deletedMs: number
  type: 'file' | 'directory'
  files: number
  sizeBytes: number
}

/** Limits of a directory; without `limit` there is none. */
export interface QuotaStatus {
  path: string
  /** Files and directories, itself included. */
  names: { limit?: number; used: number }
  /** With all copies wanted. */
  bytes: { limit?: number; used: number }
}

export interface SnapshotStatus {
  name: string
  createdMs: number
  /** Where it can be read. */
  path: string
}

/** A write that was begun and not committed yet. */
export interface OpenWriteStatus {
  fileId: FileId
  path: string
  token?: string
  /** It adds to a file that is there. */
  append: boolean
  expiresAtMs: number
  /** Which opening of it. */
  lease: number
  format: FileFormat
  replication: number
  partitionBytes?: number
  /** Recorded so far, by index. */
  blocks: BlockReport[]
}

export interface LeaseStatus {
  fileId: FileId
  path: string
  expiresAtMs: number
  blocks: number
}

/** The questions one may ask of the local replicated state. They throw ShoalErrors with the path rules' codes. */
export interface NamespaceView {
  stat(path: string): FileStatus
  exists(path: string): boolean
  /** Entries in code-unit order of their names; of a file, the file itself. `startAfter`: a name, exclusive. */
  list(path: string, options?: { startAfter?: string; limit?: number }): FileStatus[]
  /** The partitions of a file in order. */
  blocksOf(path: string): BlockStatus[]
  /** One visible partition by its id. */
  blockOf(blockId: BlockId): BlockStatus | undefined
  pathOf(fileId: FileId): string | undefined
  leaseOf(fileId: FileId): LeaseStatus | undefined
  openWrite(fileId: FileId): OpenWriteStatus | undefined
  /** Open writes of a path (appends by the file's present path), or those of all paths below a directory. */
  openWritesAt(path: string, token?: string): OpenWriteStatus[]
  /** Open writes; an expired one is among them until an `expire-leases` entry drops it. */
  openWrites(): number
  /** True while a visible file, a snapshot or an open write may need the block: what is false may be collected as garbage. */
  isReferenced(blockId: BlockId): boolean
  /** Blocks of a slot, of visible files, of snapshots and of open writes. */
  blocksInSlot(slot: number): SlotBlock[]
  slotsWithData(): number[]
  /** Visible blocks with fewer live holders than `min(replication, live peers)`, the worst first. */
  underReplicated(live: ReadonlySet<PeerId>, limit?: number): UnderReplicatedBlock[]
  /** How many those are, counted without looking at the blocks. */
  replicaCounts(live: ReadonlySet<PeerId>): ReplicaCounts
  /** Of a subtree; what only snapshots show is not in it. */
  usage(path?: string): Usage
  quota(path: string): QuotaStatus
  /** Snapshots of a directory, oldest first. */
  snapshots(path: string): SnapshotStatus[]
  /** What was removed and can come back, the oldest first. */
  trash(options?: { startAfterMs?: number; limit?: number }): TrashEntry[]
  /** Log time of the oldest removal in the trash. */
  oldestTrashMs(): number | undefined
}
