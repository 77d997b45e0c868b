import type { PackageNeed } from './closure/index.ts'
import type { FileLayout, FoundFile } from './file-layout.ts'
import type { Action, CombineSpec, FunctionRef, PartitionerSpec, Plan, Step, TextSplit } from './plan.ts'
import type { StorageLevel } from './storage-level.ts'

/**
 * The lineage: how an RDD is computed from its parents, as a graph of plain objects that operators build and actions
 * freeze into a plan. It still holds the user's function objects: what they capture is read when an action runs.
 */

export type UserFunction = (...values: never[]) => unknown

/** A function of the user, or one of the engine (builtins.ts) around others. */
export type LineageFn =
  | { kind: 'user'; fn: UserFunction }
  | { kind: 'builtin'; name: string; fns?: readonly LineageFn[]; args?: readonly unknown[] }
  /** One of an earlier plan. */
  | { kind: 'captured'; closure: Uint8Array; packages: readonly PackageNeed[] }

export type LineageStep = Step<LineageFn>
export type LineageCombine = CombineSpec<LineageFn>
export type LineageAction = Action<LineageFn>

/**
 * How an operator wants its pairs partitioned. Without `partitions`: as many as the largest parent has, and where the
 * user asked for nothing at all, a parent's own partitioner if it has that many, which saves its shuffle.
 */
export type Partitioning =
  | { kind: 'default'; partitions?: number }
  | { kind: 'range'; partitions?: number; ascending: boolean }
  | { kind: 'custom'; partitions?: number; fn: LineageFn }
  /** Exactly this one. */
  | { kind: 'given'; partitions: number; partitioner: PartitionerSpec & { kind: 'range' } }

/** A partitioner found in a plan, which holds without that plan. */
export type GivenPartitioner =
  | Exclude<PartitionerSpec, { kind: 'custom' }>
  | { kind: 'custom'; partitions: number; fn: LineageFn }

interface LineageBase {
  /** Operator as the user knows it: "reduceByKey". */
  label: string
  /** Where the user called it: "job.ts:12". */
  at?: string
  marks: Marks
}

/** What may still change on an RDD: how it is kept and called, and what has been found out; never its data. */
export interface Marks {
  name?: string
  /** Where computed partitions are kept; not at all when absent. */
  level?: StorageLevel
  /** Fingerprints under which peers may keep it, for unpersist. */
  keptAs: Set<string>
  /** Splits of a text file, once resolved: an RDD reads the version of the file that its first action saw. */
  splits?: TextSplit[]
  /** The same of other files. */
  files?: FoundFile[]
  /** Bounds of a range partitioning, once sampled (encoded rows). */
  bounds?: Uint8Array
  /**
   * The lineage that reads its elements: what it was computed from no longer matters. From a mesh directory, or (without a
   * path) from what executors keep.
   */
  checkpoint?: { path?: string; lineage: Lineage }
  /** What a deferred operator was found to be. */
  made?: Lineage
}

/** What a deferred operator may find out about its parents, when an action freezes the lineage. */
export interface Probe {
  /** False when the lineage is only explained: then `run` gives nothing, and what is made of it stands for the real thing. */
  readonly runsJobs: boolean
  partitions(parent: Lineage): number
  partitioner(parent: Lineage): PartitionerSpec | undefined
  /**
   * Runs a small job on a parent: the rows of each partition's partial result, by partition. Empty where not asked for.
   * @param only Partitions wanted. @default all
   */
  run(parent: Lineage, action: LineageAction, what: string, only?: readonly number[]): Promise<unknown[][]>
}

export type Lineage = LineageBase &
  (
    | { op: 'parallelize'; slices: Uint8Array[] }
    | { op: 'range'; start: number; step: number; count: number; partitions: number }
    | { op: 'textFile'; paths: readonly string[]; minPartitions: number }
    | {
        op: 'files'
        paths: readonly string[]
        layout: FileLayout
        read: LineageFn
        /** Of the pairs in the files, when there is one file for each of its partitions. */
        partitioner?: GivenPartitioner
      }
    /** Partitions that executors keep under this fingerprint, and nothing to compute them from. */
    | { op: 'kept'; fingerprint: string; partitions: number; partitioner?: GivenPartitioner }
    | { op: 'steps'; parent: Lineage; steps: readonly LineageStep[]; keepsPartitioner: boolean }
    | { op: 'union'; parents: readonly Lineage[] }
    /** Pairs brought together by key; narrow when the parent is already partitioned so. */
    | { op: 'combine'; parent: Lineage; by: Partitioning; combine: LineageCombine }
    /** Rows [key, [values of parent 0, values of parent 1, …]]. */
    | { op: 'cogroup'; parents: readonly Lineage[]; by: Partitioning }
    /** Neighbouring partitions become one; never more than the parent has. */
    | { op: 'coalesce'; parent: Lineage; partitions: number }
    /** Partitions side by side, as many of each; `fn` gets an iterator over each. */
    | { op: 'zip'; parents: readonly Lineage[]; fn: LineageFn }
    | { op: 'cartesian'; parents: readonly [Lineage, Lineage] }
    /** Only these partitions, ascending: the others need not be computed. */
    | { op: 'prune'; parent: Lineage; kept: readonly number[] }
    /** An operator that depends on what its parents come to: made when an action freezes it, once, from their lineages. */
    | { op: 'deferred'; parents: readonly Lineage[]; make: (probe: Probe) => Promise<Lineage> }
  )

export function parentsOf(lineage: Lineage): readonly Lineage[] {
  if (lineage.marks.checkpoint !== undefined) return [lineage.marks.checkpoint.lineage]
  switch (lineage.op) {
    case 'parallelize':
    case 'range':
    case 'textFile':
    case 'files':
    case 'kept':
      return []
    case 'steps':
    case 'combine':
    case 'coalesce':
    case 'prune':
      return [lineage.parent]
    case 'union':
    case 'cogroup':
    case 'zip':
    case 'cartesian':
    case 'deferred':
      return lineage.parents
  }
}

/** Every lineage that `target` is computed from, each once, parents first, `target` last. Not recursive: loops make chains of thousands. */
export function ancestry(target: Lineage): Lineage[] {
  const order: Lineage[] = []
  const seen = new Set<Lineage>()
  const stack: { lineage: Lineage; parentsDone: boolean }[] = [{ lineage: target, parentsDone: false }]
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    if (top.parentsDone) {
      order.push(top.lineage)
      continue
    }
    if (seen.has(top.lineage)) continue
    seen.add(top.lineage)
    stack.push({ lineage: top.lineage, parentsDone: true })
    const parents = parentsOf(top.lineage)
    for (let i = parents.length - 1; i >= 0; i--) stack.push({ lineage: parents[i]!, parentsDone: false })
  }
  return order
}

/** The partitioner of a plan's last node. */
export function givenPartitioner({
  nodes,
  closures,
  packages = [],
  broadcasts = [],
}: Plan): GivenPartitioner | undefined {
  const partitioner = nodes.at(-1)?.partitioner
  if (partitioner?.kind !== 'custom') return partitioner
  // Its function may read one of them, which ends when its plan's handles do.
  if (broadcasts.length > 0) return undefined
  const given = (ref: FunctionRef): LineageFn => {
    if (ref.kind === 'closure') return { kind: 'captured', closure: closures[ref.id]!, packages }
    const { fns, ...rest } = ref
    return { ...rest, ...(fns !== undefined && { fns: fns.map(given) }) }
  }
  return { ...partitioner, fn: given(partitioner.fn) }
}

export function user(fn: UserFunction): LineageFn {
  return { kind: 'user', fn }
}

export function builtin(
  name: string,
  fns: readonly LineageFn[] = [],
  args: readonly unknown[] = [],
): LineageFn {
  return { kind: 'builtin', name, ...(fns.length > 0 && { fns }), ...(args.length > 0 && { args }) }
}
