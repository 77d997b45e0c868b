import { encodeRows } from '../codec/index.ts'
import { invalid } from '../dataset.ts'
import { builtin, type Lineage, type LineageFn } from '../lineage.ts'
import { combined, steps, VALUES } from './builders.ts'

/** Aggregations that merge partial results on the peers, in several levels, before the requester gets the rest. */

/** One row, the aggregate, for each partition. */
export function foldedPartitions(parent: Lineage, label: string, zero: unknown, seqOp: LineageFn): Lineage {
  const fn = builtin('foldPartition', [seqOp], [encodeRows([zero])])
  return steps(parent, label, [{ op: 'mapPartitions', fn }])
}

/** One row for each partition that has any. */
export function reducedPartitions(parent: Lineage, label: string, fn: LineageFn): Lineage {
  return steps(parent, label, [{ op: 'mapPartitions', fn: builtin('reducePartition', [fn]) }])
}

/**
 * Merges the rows of neighbouring partitions, level by level, until about as few are left as each task merges (Spark's
 * rule). Neighbours stay in order: `merge` need not be commutative.
 */
export function mergedAsTree(
  rows: Lineage,
  label: string,
  merge: LineageFn,
  partitions: number,
  depth: number,
): Lineage {
  const scale = Math.max(Math.ceil(partitions ** (1 / depth)), 2)
  let merged = rows
  let count = partitions
  while (count > scale + Math.ceil(count / scale)) {
    const groups = Math.floor(count / scale)
    const grouped = builtin('inGroups', [], [count, groups])
    const keyed = steps(merged, label, [{ op: 'mapPartitions', fn: grouped }])
    const by = { kind: 'custom', partitions: groups, fn: builtin('identity') } as const
    merged = steps(combined(keyed, label, by, { kind: 'reduce', fn: merge }), label, [VALUES])
    count = groups
  }
  return merged
}

/** The same down to one partition of one row: for those who have no requester to merge the rest. */
export function mergedToOne(
  rows: Lineage,
  label: string,
  merge: LineageFn,
  partitions: number,
  depth: number,
): Lineage {
  const merged = mergedAsTree(rows, label, merge, partitions, depth)
  const one = builtin('inGroups', [], [partitions, 1])
  const keyed = steps(merged, label, [{ op: 'mapPartitions', fn: one }])
  const by = { kind: 'custom', partitions: 1, fn: builtin('identity') } as const
  return steps(combined(keyed, label, by, { kind: 'reduce', fn: merge }), label, [VALUES])
}

export function checkDepth(operator: string, depth: number): void {
  if (!Number.isSafeInteger(depth) || depth < 1) {
    throw invalid(`${operator}(): the depth must be a whole number from 1 on, not ${depth}`)
  }
}
