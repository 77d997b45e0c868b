import { partitionCount } from '../dataset.ts'
import { decodeRows, encodeRows } from '../codec/index.ts'
import { compareValues } from '../engine/ordering.ts'
import { builtin, type Lineage, type LineageFn, type Partitioning } from '../lineage.ts'
import type { PartitionerSpec } from '../plan.ts'
import { combined, deferred, keyed, steps, VALUES } from './builders.ts'

/** Datasets in order: ranges of keys, each partition sorted. */

export interface Order {
  ascending: boolean
  numPartitions: number | undefined
}

export function sortedBy(parent: Lineage, keyFunc: LineageFn, order: Order): Lineage {
  const label = 'sortBy'
  return steps(ranged(steps(parent, label, [keyed(keyFunc)]), label, order), label, [VALUES])
}

export function sortedByKey(parent: Lineage, keyFunc: LineageFn | undefined, order: Order): Lineage {
  const label = 'sortByKey'
  if (keyFunc === undefined) return ranged(parent, label, order)
  const byKey = { op: 'map', fn: builtin('keyByPairKey', [keyFunc]) } as const
  return steps(ranged(steps(parent, label, [byKey]), label, order), label, [VALUES])
}

/** Pairs in ranges of their keys, each range sorted. */
function ranged(pairs: Lineage, label: string, { ascending, numPartitions }: Order): Lineage {
  const by = rangePartitioning(label, ascending, numPartitions)
  const sort = { op: 'sort', by: builtin('pairKey'), ascending } as const
  return steps(combined(pairs, label, by, { kind: 'none' }), label, [sort], true)
}

export function rangePartitioning(
  label: string,
  ascending: boolean,
  numPartitions: number | undefined,
): Partitioning {
  const count = numPartitions === undefined ? {} : { partitions: partitionCount(label, numPartitions) }
  return { kind: 'range', ascending, ...count }
}

export function sortedWithinPartitions(
  parent: Lineage,
  by: Partitioning,
  ascending: boolean,
  keyFunc: LineageFn | undefined,
): Lineage {
  const label = 'repartitionAndSortWithinPartitions'
  const key = builtin('pairKey')
  const sortKey = keyFunc === undefined ? key : builtin('compose', [key, keyFunc])
  const sort = { op: 'sort', by: sortKey, ascending } as const
  return steps(combined(parent, label, by, { kind: 'none' }), label, [sort], true)
}

/** Pairs whose key is in [lower, upper]. Of a dataset in ranges only the partitions that may have some are computed. */
export function filteredByRange(parent: Lineage, lower: unknown, upper: unknown): Lineage {
  const label = 'filterByRange'
  const within = builtin('pairKeyWithin', [], [encodeRows([lower, upper])])
  const filter = { op: 'filter', fn: within } as const
  return deferred([parent], label, async probe => {
    const kept = rangesWithin(probe.partitioner(parent), lower, upper)
    if (kept === undefined) return steps(parent, label, [filter], true)
    const pruned: Lineage = { op: 'prune', label, marks: { keptAs: new Set() }, parent, kept }
    return steps(pruned, label, [filter])
  })
}

/** Partitions that can have keys in [lower, upper], where that is known and not all. */
function rangesWithin(
  partitioner: PartitionerSpec | undefined,
  lower: unknown,
  upper: unknown,
): number[] | undefined {
  if (partitioner?.kind !== 'range' || partitioner.bounds.byteLength === 0) return undefined
  if (compareValues(lower, upper) > 0) return []
  const bounds = decodeRows(partitioner.bounds)
  // Range r has the keys above bound r − 1, up to bound r.
  const kept: number[] = []
  for (let range = 0; range < partitioner.partitions; range++) {
    const isAbove = range > bounds.length || (range > 0 && compareValues(bounds[range - 1], upper) >= 0)
    const isBelow = range < bounds.length && compareValues(bounds[range], lower) < 0
    if (!isAbove && !isBelow) kept.push(partitioner.ascending ? range : partitioner.partitions - 1 - range)
  }
  return kept.sort((a, b) => a - b)
}
