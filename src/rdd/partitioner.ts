import { pack } from '../base/wire.ts'
import type { Partitioning } from './lineage.ts'
import type { PartitionerSpec, PlanNode } from './plan.ts'

/**
 * Do both send equal keys to the same partition? Then pairs partitioned by one need no shuffle for the other. Closures
 * are compared by what they captured, as equal ones have one id in a plan.
 */
export function samePartitioner(left: PartitionerSpec | undefined, right: PartitionerSpec): boolean {
  if (left === undefined || left.kind !== right.kind || left.partitions !== right.partitions) return false
  return left.kind === 'hash' || Buffer.compare(pack(left), pack(right)) === 0
}

/**
 * The partitioner of the largest parent that has one, if it has no fewer partitions than any parent: then the
 * largest input needs no shuffle (Spark's Partitioner.defaultPartitioner).
 */
export function reusablePartitioner(parents: readonly PlanNode[]): PartitionerSpec | undefined {
  let best: PartitionerSpec | undefined
  for (const { partitioner } of parents) {
    if (partitioner !== undefined && partitioner.partitions > (best?.partitions ?? 0)) best = partitioner
  }
  return best !== undefined && best.partitions >= defaultPartitions(parents) ? best : undefined
}

/** As many as the largest parent has; at least one. */
export function defaultPartitions(parents: readonly PlanNode[]): number {
  return parents.reduce((most, { partitions }) => Math.max(most, partitions), 1)
}

export function wantedPartitions(wanted: Partitioning, parents: readonly PlanNode[]): number {
  return wanted.partitions ?? defaultPartitions(parents)
}
