import type { BlockId, FileId, PeerId, WireError } from '../base/index.ts'

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

/** Names a client's mutation, so that sending it again gives the first answer instead of doing it twice. */
export interface SessionSeq {
  clientId: string
  /** Counts up from 1 in each client. */
  seq: number
}

interface Mutation {
  session?: SessionSeq
}

export interface Mkdir extends Mutation {
  type: 'mkdir'
  path: string
  /** Make missing parents too, and do not mind a directory that is there (`mkdir -p`). @default false */
  parents?: boolean
}

/**
 * Opens a write: nothing is visible until `commit-file`. Several writers may have the same path open; the first commit
 * wins, or the last when they overwrite.
 */
export interface BeginFile extends Mutation {
  type: 'begin-file'
  path: string
  fileId: FileId
  leaseMs: number
  /** Replace the file that is there when this one is committed. @default false */
  overwrite?: boolean
  /** Make missing directories at the commit. @default false: a missing directory is NOT_FOUND, now and at the commit */
  parents?: boolean
  /** @default 'lines' */
  format?: FileFormat
  /** Copies wanted, 1–16. @default 3 */
  replication?: number
  /** What the splitter aimed at; for people to read. */
  partitionBytes?: number
}

/** Records blocks under the lease, invisibly. Reporting an index again replaces it (a rewritten block). */
export interface AddBlocks extends Mutation {
  type: 'add-blocks'
  fileId: FileId
  blocks: BlockReport[]
}

/** Makes the file visible, whole, at once. Repeating it after success is harmless. */
export interface CommitFile extends Mutation {
  type: 'commit-file'
  fileId: FileId
  /** Number of partitions; refused unless exactly 0 … blockCount − 1 were added. */
  blockCount: number
}

export interface AbandonFile extends Mutation {
  type: 'abandon-file'
  fileId: FileId
}

export interface ExtendLease extends Mutation {
  type: 'extend-lease'
  fileId: FileId
  leaseMs: number
}

/** Onto an existing directory it moves inside, as HDFS and POSIX do. */
export interface Mv extends Mutation {
  type: 'mv'
  from: string
  to: string
}

export interface Rm extends Mutation {
  type: 'rm'
  path: string
  /** Needed for a directory that is not empty. @default false */
  recursive?: boolean
}

/** What repair changed. Blocks that are gone meanwhile are skipped; the last holder is never removed. */
export interface ReportHolders extends Mutation {
  type: 'report-holders'
  /** Of the leader whose planner says so; in another term it is refused. Without it, it is taken in any. */
  term?: number
  blocks: { blockId: BlockId; add?: PeerId[]; remove?: PeerId[] }[]
}

/**
 * The output of a job: makes the directory `path` with one file per part (`part-00000` …) visible at once, out of open
 * writes. The first winner's output stays; another gets ALREADY_COMMITTED.
 */
export interface CommitOutput extends Mutation {
  type: 'commit-output'
  path: string
  /** Names the attempt that commits, e.g. job id and term; the same winner again gets the first answer. */
  winner: string
  /** Open writes, in partition order; each must have all its blocks. */
  parts: { fileId: FileId; blockCount: number }[]
  /** Appended to each part's name, e.g. `.json`. @default '' */
  suffix?: string
}

/** Drops the writes whose lease ended before the entry's log time. Proposed now and then by the leader. */
export interface ExpireLeases extends Mutation {
  type: 'expire-leases'
}

export type NamespaceCommand =
  | Mkdir
  | BeginFile
  | AddBlocks
  | CommitFile
  | AbandonFile
  | ExtendLease
  | Mv
  | Rm
  | ReportHolders
  | CommitOutput
  | ExpireLeases

export interface Refusal {
  ok: false
  error: WireError
}

/** What each command answers when it was carried out. */
export interface NamespaceAnswers {
  mkdir: { ok: true; created: boolean }
  'begin-file': { ok: true; expiresAtMs: number }
  'add-blocks': { ok: true }
  'commit-file': { ok: true; sizeBytes: number; partitions: number; replaced?: FileId }
  'abandon-file': { ok: true; abandoned: boolean }
  'extend-lease': { ok: true; expiresAtMs: number }
  /** `path`: where it is now. */
  mv: { ok: true; path: string }
  rm: { ok: true; files: number; directories: number; sizeBytes: number }
  'report-holders': { ok: true; changed: number }
  'commit-output': { ok: true; files: number; sizeBytes: number }
  'expire-leases': { ok: true; expired: number }
}

export type NamespaceResult = NamespaceAnswers[keyof NamespaceAnswers] | Refusal

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

export interface Usage {
  files: number
  directories: number
  blocks: number
  /** Once. */
  sizeBytes: number
  /** With every copy. */
  storedBytes: number
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
  /** Open writes; an expired one is among them until an `expire-leases` entry drops it. */
  openWrites(): number
  /** True while a visible file or an open write may need the block: what is false may be collected as garbage. */
  isReferenced(blockId: BlockId): boolean
  /** Blocks of a slot, of visible files and of open writes. */
  blocksInSlot(slot: number): SlotBlock[]
  slotsWithData(): number[]
  /** Visible blocks with fewer live holders than `min(replication, live peers)`, the worst first. */
  underReplicated(live: ReadonlySet<PeerId>, limit?: number): UnderReplicatedBlock[]
  /** Of a subtree. */
  usage(path?: string): Usage
}
