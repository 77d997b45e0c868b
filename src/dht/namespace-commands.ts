import type { BlockId, FileId, PeerId, WireError } from '../base/index.ts'
import type { BlockReport, FileFormat } from './namespace-types.ts'

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
  /**
   * Chosen by the client, so that it can come back: an open write of the same path with the same token is taken over with the
   * blocks it has, and whoever had it open loses it. Leases may be longer with one.
   */
  token?: string
}

/**
 * Opens a write that adds to a file. One at a time for each file: another is WRITE_CONFLICT, unless it has the same token. Nothing is
 * visible until `commit-file`, which follows the file when it was renamed, and is NOT_FOUND when it was removed or replaced.
 */
export interface BeginAppend extends Mutation {
  type: 'begin-append'
  path: string
  leaseMs: number
  token?: string
}

/** Of a write that was opened: which opening is meant. Needed for appends and writes with a token; another opening since is LEASE_LOST. */
interface Leased {
  /** As the opening command answered it. */
  lease?: number
}

/** Records blocks under the lease, invisibly. Reporting an index again replaces it (a rewritten block). */
export interface AddBlocks extends Mutation, Leased {
  type: 'add-blocks'
  fileId: FileId
  blocks: BlockReport[]
}

/** Makes the file visible, whole, at once. Repeating it after success is harmless. */
export interface CommitFile extends Mutation, Leased {
  type: 'commit-file'
  fileId: FileId
  /** Partitions of the whole file; refused unless exactly 0 … blockCount − 1 (for an append: `from` … blockCount − 1) were added. */
  blockCount: number
  /** Of an append: the first partition that it wrote: one past the last, or the last one, written anew and longer. */
  from?: number
}

export interface AbandonFile extends Mutation, Leased {
  type: 'abandon-file'
  fileId: FileId
}

export interface ExtendLease extends Mutation, Leased {
  type: 'extend-lease'
  fileId: FileId
  leaseMs: number
}

/** Keeps many open writes (finished parts of a dataset that is not committed yet); those that are gone are passed over. */
export interface ExtendLeases extends Mutation {
  type: 'extend-leases'
  /** At most 1,000; appends and writes with a token are passed over, too. */
  fileIds: FileId[]
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
  /** Move it to the trash instead; what lies in the trash already goes for good. @default false */
  trash?: boolean
}

/** Moves something back from the trash, to where it was or to `to`; missing directories are made. */
export interface Undelete extends Mutation {
  type: 'undelete'
  /** Where it was. */
  path: string
  /** Which removal; @default the last one that has it */
  deletedMs?: number
  to?: string
}

/** Ends what has lain in the trash for that long (0: all of it), a bounded number of names at a time. */
export interface Expunge extends Mutation {
  type: 'expunge'
  ageMs: number
}

/** Limits for a directory and all below it; null lifts one, undefined leaves it. */
export interface SetQuota extends Mutation {
  type: 'set-quota'
  path: string
  /** Files and directories, itself included. */
  names?: number | null
  /** With all copies wanted. */
  bytes?: number | null
}

export interface CreateSnapshot extends Mutation {
  type: 'create-snapshot'
  path: string
  name: string
}

export interface RenameSnapshot extends Mutation {
  type: 'rename-snapshot'
  path: string
  name: string
  to: string
}

export interface DeleteSnapshot extends Mutation {
  type: 'delete-snapshot'
  path: string
  name: string
}

/** Copies wanted of a file, or of all files below a directory. */
export interface SetReplication extends Mutation {
  type: 'set-replication'
  path: string
  /** 1–16. */
  replication: number
  /** Needed for a directory. @default false */
  recursive?: boolean
}

/** Metadata that nothing enforces. */
export interface SetAttributes extends Mutation {
  type: 'set-attributes'
  path: string
  /** 0–0o7777. */
  mode?: number
  /** Empty takes it away. */
  owner?: string
  group?: string
  modifiedMs?: number
  /** Of all below a directory, too. @default false */
  recursive?: boolean
}

/** Sets the time of a file or directory, or makes an empty file. */
export interface Touch extends Mutation {
  type: 'touch'
  path: string
  /** Of the file to be made. */
  fileId: FileId
  /** @default log time */
  modifiedMs?: number
  /** @default true; else NOT_FOUND */
  create?: boolean
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
 * writes or of a directory that has the parts already. The first winner's output stays; another gets ALREADY_COMMITTED.
 */
export interface CommitOutput extends Mutation {
  type: 'commit-output'
  path: string
  /** Names the attempt that commits, e.g. job id and term; the same winner again gets the first answer. */
  winner: string
  /** Open writes, in partition order; each must have all its blocks. None with `gathered`. */
  parts: { fileId: FileId; blockCount: number }[]
  /** Instead: a directory with so many files and nothing else, which is moved. */
  gathered?: { directory: string; files: number }
  /** Appended to each part's name, e.g. `.json`. @default '' */
  suffix?: string
  /** What is there goes to the trash, unless it is this winner's. @default false: ALREADY_EXISTS */
  overwrite?: boolean
  /** Id of the empty file `_SUCCESS` that says that all is there. @default none */
  marker?: FileId
}

/** Drops the writes whose lease ended before the entry's log time. Proposed now and then by the leader. */
export interface ExpireLeases extends Mutation {
  type: 'expire-leases'
}

export type NamespaceCommand =
  | Mkdir
  | BeginFile
  | BeginAppend
  | AddBlocks
  | CommitFile
  | AbandonFile
  | ExtendLease
  | ExtendLeases
  | Mv
  | Rm
  | Undelete
  | Expunge
  | SetQuota
  | CreateSnapshot
  | RenameSnapshot
  | DeleteSnapshot
  | SetReplication
  | SetAttributes
  | Touch
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
  /** `fileId`: of the write that was taken over, when there was one with the token; `blocks`: how many it has already. */
  'begin-file': { ok: true; expiresAtMs: number; fileId: FileId; lease: number; blocks: number }
  'begin-append': {
    ok: true
    expiresAtMs: number
    fileId: FileId
    lease: number
    blocks: number
    /** Of the file as it is. */
    partitions: number
    sizeBytes: number
    format: FileFormat
    replication: number
    partitionBytes?: number
  }
  'add-blocks': { ok: true }
  'commit-file': { ok: true; sizeBytes: number; partitions: number; replaced?: FileId }
  'abandon-file': { ok: true; abandoned: boolean }
  'extend-lease': { ok: true; expiresAtMs: number }
  'extend-leases': { ok: true; extended: number }
  /** `path`: where it is now. */
  mv: { ok: true; path: string }
  /** `trash`: where it is now. */
  rm: { ok: true; files: number; directories: number; sizeBytes: number; trash?: string }
  undelete: { ok: true; path: string }
  /** `more`: some is left for the next command. */
  expunge: { ok: true; entries: number; files: number; more: boolean }
  'set-quota': { ok: true }
  'create-snapshot': { ok: true; path: string }
  'rename-snapshot': { ok: true; path: string }
  'delete-snapshot': { ok: true }
  'set-replication': { ok: true; files: number }
  'set-attributes': { ok: true; entries: number }
  touch: { ok: true; created: boolean }
  'report-holders': { ok: true; changed: number }
  'commit-output': { ok: true; files: number; sizeBytes: number }
  'expire-leases': { ok: true; expired: number }
}

export type NamespaceResult = NamespaceAnswers[keyof NamespaceAnswers] | Refusal
