import type { BroadcastRef } from './broadcast.ts'
import type { DeclaredClass } from './class-registry.ts'
import type { PackageNeed } from './closure/index.ts'
import type { KeptLevel } from './storage-level.ts'

/**
 * The plan: what a job computes, as plain data. The requester freezes the lineage of an RDD into it once, when an action
 * is called; it is self-contained (file splits are resolved, closures captured, sort bounds sampled), so any leader can
 * go on with it after another one died and every executor computes the same from it.
 *
 * Nodes stand in topological order: a parent's id is smaller than its child's. The last node is what the action reads.
 */

/** Index in `Plan.nodes`. */
export type NodeId = number

/**
 * A function of the user (captured, by value) or of the engine (by name, from `builtins.ts`). A builtin is made by
 * calling its maker with the functions it is built around, then with its plain arguments: `maker(...fns, ...args)`.
 */
export type FunctionRef =
  | { kind: 'closure'; id: number }
  | { kind: 'builtin'; name: string; fns?: readonly FunctionRef[]; args?: readonly unknown[] }

/**
 * One narrow operator; the engine fuses neighbouring ones into one loop. Like combiners and actions it is generic in
 * how it names functions: in a lineage they are still the user's own function objects (see lineage.ts).
 */
export type Step<Fn = FunctionRef> =
  | { op: 'map'; fn: Fn }
  | { op: 'filter'; fn: Fn }
  /** `fn` returns any iterable; arrays take the fast way. */
  | { op: 'flatMap'; fn: Fn }
  /** `fn(iterator, partitionIndex)` returns any iterable. */
  | { op: 'mapPartitions'; fn: Fn }
  /**
   * `fn(async iterable of arrays of elements, partitionIndex, signal)` returns an async iterable of arrays. For what must
   * wait: calls to services, external commands. The signal says that nobody wants more.
   */
  | { op: 'stream'; fn: Fn }
  /** Sorts the whole partition, stably, by `by(element)` in the default order (see ordering.ts). */
  | { op: 'sort'; by: Fn; ascending: boolean }

/** How the pairs of a shuffle find their partition. Equality decides whether a shuffle can be skipped. */
export type PartitionerSpec =
  | { kind: 'hash'; partitions: number }
  /** `bounds`: encoded rows (row codec), ascending, at most partitions − 1 of them. */
  | { kind: 'range'; partitions: number; bounds: Uint8Array; ascending: boolean }
  /** A negative result is taken as the non-negative remainder. */
  | { kind: 'custom'; partitions: number; fn: FunctionRef }

/** What happens to the values of one key on the way. */
export type CombineSpec<Fn = FunctionRef> =
  /** Pairs pass as they are, in map-partition order. */
  | { kind: 'none' }
  /** value × value → value, combined on the map side too. */
  | { kind: 'reduce'; fn: Fn }
  /** create(value) → C, mergeValue(C, value) → C, mergeCombiners(C, C) → C. */
  | {
      kind: 'aggregate'
      create: Fn
      mergeValue: Fn
      mergeCombiners: Fn
      mapSide: boolean
    }
  /** All values of a key in one array, in map-partition order; never combined on the map side. */
  | { kind: 'group' }

/** A slice of one stored partition of a file. A line belongs to the split in which it begins. */
export interface TextSplit {
  fileId: string
  /** Index of the block in its file, and its id. */
  block: number
  blockId: string
  /** Byte range in the block that this split begins lines in: [start, end). */
  start: number
  end: number
  /** Whole length of the block. */
  blockBytes: number
  /** The blocks of a whole file in gzip or zstd, which only one task can read; the range is then that of all of them. */
  packed?: StoredBlock[]
}

export interface StoredBlock {
  blockId: string
  bytes: number
}

/** One version of a file, as its blocks. */
export interface StoredFile {
  path: string
  fileId: string
  blocks: StoredBlock[]
}

/** Bytes [start, end) of a file of the node. */
export interface FileRange {
  /** Index in the node's files. */
  file: number
  start: number
  end: number
}

interface NodeBase {
  /** How many partitions the node has: fixed in the plan, never from who is alive. */
  partitions: number
  /** SHA-256 (hex, 32 digits) of the operator, its closures and its parents: the same lineage, the same fingerprint. */
  fingerprint: string
  /** Known partitioning of the pairs in this node, if any. */
  partitioner?: PartitionerSpec
  /** Keep computed partitions on the peer that computed them, and read them there. */
  cached: boolean
  /** How. @default in memory, one copy */
  level?: KeptLevel
  /** Operator as the user knows it, for explain and errors: "reduceByKey". */
  label: string
  /** Where the user called it: "job.ts:12". */
  at?: string
  /** Name the user gave it with setName, for explain and progress. */
  name?: string
}

export type PlanNode = NodeBase &
  (
    | { op: 'parallelize'; slices: Uint8Array[] }
    /** Slice i holds start + k·step for k in [floor(i·n/p), floor((i+1)·n/p)), n = count. */
    | { op: 'range'; start: number; step: number; count: number }
    | { op: 'textFile'; path: string; splits: TextSplit[] }
    /** Partition p: what `read(FileInput, signal)` makes of each of the ranges of parts[p], an async iterable of arrays of rows. */
    | { op: 'files'; path: string; files: StoredFile[]; parts: FileRange[][]; read: FunctionRef }
    | { op: 'steps'; parent: NodeId; steps: Step[] }
    /** Partitions of the parents one after the other. */
    | { op: 'union'; parents: NodeId[] }
    /** The one wide node: pairs of `parent` redistributed by `by`; partition p yields [key, combined] rows. */
    | { op: 'shuffle'; parent: NodeId; by: PartitionerSpec; combine: CombineSpec }
    /** Narrow: parents have equal partitioners; yields [key, [values of parent 0, values of parent 1, …]]. */
    | { op: 'cogroup'; parents: NodeId[] }
    /** Neighbouring partitions of the parent, one after the other: p is floor(p·n/m) … floor((p+1)·n/m) of its n. */
    | { op: 'coalesce'; parent: NodeId }
    /** Parents have as many partitions; `fn(iterators of the parents, partitionIndex)` returns any iterable. */
    | { op: 'zip'; parents: NodeId[]; fn: FunctionRef }
    /** [left, right] for every left and right element; partition i·m + j is i of the left and j of the m of the right. */
    | { op: 'cartesian'; parents: NodeId[] }
    /** Partition p is partition kept[p] of the parent; ascending. */
    | { op: 'prune'; parent: NodeId; kept: number[] }
    /** Partitions that were kept under this fingerprint, and what they were computed from is forgotten: `cached`, always. */
    | { op: 'kept' }
  )

/** What each partition of the last node is turned into; its rows travel to the requester in the row codec. */
export type Action<Fn = FunctionRef> =
  /** All rows. */
  | { kind: 'collect' }
  /** One row: the number of elements. */
  | { kind: 'count' }
  /** No row for an empty partition, else one. */
  | { kind: 'reduce'; fn: Fn }
  /** One row. `zero` is one encoded row (row codec), decoded afresh for each partition. */
  | { kind: 'fold'; zero: Uint8Array; fn: Fn }
  /** The first n rows; the loop stops there. */
  | { kind: 'take'; count: number }
  /** No row. */
  | { kind: 'forEach'; fn: Fn }
  /** `fn(iterator, partitionIndex)` runs over the whole partition; its returned value is the one row. */
  | { kind: 'partition'; fn: Fn }
  /** String(element) + '\n', UTF-8, written as part file of the mesh directory `path`; one row: {file, bytes}. */
  | { kind: 'saveText'; path: string; replication?: number }
  /** The same of elements that are bytes already. */
  | { kind: 'saveBytes'; path: string; format: 'lines' | 'csv' | 'binary'; replication?: number }

export interface Plan {
  version: 1
  nodes: PlanNode[]
  /** Captured closures (closure/capture.ts, encoded), referenced by index. */
  closures: Uint8Array[]
  /** Classes that the user declared, in the order in which they are made: none needs a later one. */
  classes?: DeclaredClass[]
  /** Packages that closures name: every executor has them before its first task. Absent when there are none. */
  packages?: PackageNeed[]
  action: Action
  /** Partitions of the last node to compute, ascending; all when absent. */
  only?: number[]
  /** A task may run so long; then it is ended. Absent: as long as it likes. */
  taskTimeoutMs?: number
  /** Broadcasts that the closures refer to; they belong to the requester's session. */
  broadcasts?: BroadcastRef[]
  /** Ids of the accumulators that the closures add to; their totals are the requester's. */
  accumulators?: string[]
}
