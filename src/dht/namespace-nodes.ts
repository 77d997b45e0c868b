import type { FileId } from '../base/index.ts'
import type { HolderGroup } from './holder-groups.ts'
import type { FileFormat } from './namespace-types.ts'

/** One partition. Kept small: there is one for each block of the mesh, on every peer. */
export interface BlockRecord {
  readonly fileId: FileId
  readonly index: number
  readonly writeId: string
  readonly sizeBytes: number
  /** SHA-256, packed. */
  readonly hash: string
  holders: HolderGroup
  readonly lines: number | undefined
  readonly midLine: boolean
}

/** What a write asked for, and what its file keeps. Shared by all files with the same. */
export interface FileShape {
  readonly format: FileFormat
  readonly replication: number
  readonly partitionBytes: number | undefined
}

/** Stored for people and other systems; nothing here is enforced. Shared by all nodes with the same. */
export interface Attributes {
  readonly mode?: number
  readonly owner?: string
  readonly group?: string
}

/** A version of a file. It lies in one place: in the tree (then it has a parent) or in one directory's past. */
export interface FileNode {
  readonly kind: 'file'
  name: string
  parent: DirectoryNode | undefined
  readonly fileId: FileId
  blocks: readonly BlockRecord[]
  sizeBytes: number
  modifiedMs: number
  shape: FileShape
  attributes: Attributes | undefined
  /** Another version with the same id, kept by a snapshot or shown beside one. */
  other: FileNode | undefined
}

export interface DirectoryNode {
  readonly kind: 'directory'
  name: string
  parent: DirectoryNode | undefined
  readonly entries: Map<string, TreeNode>
  modifiedMs: number
  attributes: Attributes | undefined
  /** Of a job's output: the attempt that committed it. */
  winner: string | undefined
  /** Of all that is below it. */
  readonly sums: Sums
  /** No path below it is longer than this many bytes; may be too high after removals. */
  reachBytes: number
  quota: Quota | undefined
  /** Its snapshots, oldest first. */
  snapshots: SnapshotRecord[] | undefined
  /** Snapshots of a directory that it was moved out of, and which still show it there. */
  pins: number[] | undefined
  /** What it was for snapshots, oldest first; each says what changed until the next, the last until now. */
  versions: DirectoryVersion[] | undefined
  /** No snapshot up to this one needs a new version: it was made, or last versioned, after that. */
  savedSeq: number
}

export type TreeNode = FileNode | DirectoryNode

/** Kept in step from the changed node up to the root, so that nobody has to count. */
export interface Sums {
  files: number
  directories: number
  blocks: number
  /** Each file once. */
  sizeBytes: number
  /** With the copies there are. */
  storedBytes: number
  /** With the copies wanted: what the byte quota counts. */
  wantedBytes: number
}

/** Undefined means without limit. */
export interface Quota {
  /** Files and directories, itself included. */
  readonly names: number | undefined
  /** With all copies wanted. */
  readonly bytes: number | undefined
}

export interface SnapshotRecord {
  /** Counts the snapshots of the mesh. */
  readonly seq: number
  name: string
  readonly createdMs: number
}

/** A directory as some snapshots show it. */
export interface DirectoryVersion {
  /** Their sequence numbers, rising. */
  needed: number[]
  /** What the changed names meant then; null: nothing. */
  readonly entries: Map<string, TreeNode | null>
  readonly modifiedMs: number
  readonly attributes: Attributes | undefined
}

export function newDirectory(name: string, modifiedMs: number, savedSeq = 0): DirectoryNode {
  return {
    kind: 'directory',
    name,
    parent: undefined,
    entries: new Map(),
    modifiedMs,
    attributes: undefined,
    winner: undefined,
    sums: { files: 0, directories: 0, blocks: 0, sizeBytes: 0, storedBytes: 0, wantedBytes: 0 },
    reachBytes: 0,
    quota: undefined,
    snapshots: undefined,
    pins: undefined,
    versions: undefined,
    savedSeq,
  }
}

/** What a node counts for in the directories above it. */
export function sumsOf(node: TreeNode): Sums {
  if (node.kind === 'directory') return { ...node.sums, directories: node.sums.directories + 1 }
  const { sizeBytes, blocks, shape } = node
  const sums: Sums = {
    files: 1,
    directories: 0,
    blocks: blocks.length,
    sizeBytes,
    storedBytes: 0,
    wantedBytes: sizeBytes * shape.replication,
  }
  for (const block of blocks) sums.storedBytes += block.sizeBytes * block.holders.peers.length
  return sums
}

export function addSums(to: Sums, added: Readonly<Sums>, sign: 1 | -1 = 1): void {
  to.files += sign * added.files
  to.directories += sign * added.directories
  to.blocks += sign * added.blocks
  to.sizeBytes += sign * added.sizeBytes
  to.storedBytes += sign * added.storedBytes
  to.wantedBytes += sign * added.wantedBytes
}

/** The directory and all above it. */
export function* upwards(from: DirectoryNode | undefined): Generator<DirectoryNode> {
  for (let at = from; at !== undefined; at = at.parent) yield at
}
