import { decodeRows } from '../codec/index.ts'
import type { FunctionRef, PartitionerSpec } from '../plan.ts'
import { bucketOf, hashKey } from './hashing.ts'
import { compareNumbers, compareStrings, compareValues } from './ordering.ts'

/** Which partition a key belongs to, in [0, partitions). */
export type PartitionOf = (key: unknown) => number

export function partitionFunction(
  spec: PartitionerSpec,
  resolve: (ref: FunctionRef) => (...values: never[]) => unknown,
): PartitionOf {
  const { partitions } = spec
  switch (spec.kind) {
    case 'hash':
      return key => bucketOf(hashKey(key), partitions)
    case 'range':
      return rangePartition(decodeRows(spec.bounds), partitions, spec.ascending)
    case 'custom':
      break
  }
  return customPartition(resolve(spec.fn) as (key: unknown) => unknown, partitions)
}

/** The number of bounds below the key (bisect left, as PySpark), counted from the end when descending. */
function rangePartition(bounds: readonly unknown[], partitions: number, ascending: boolean): PartitionOf {
  const isBelow = belowFunction(bounds)
  return key => {
    let low = 0
    let high = bounds.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isBelow(bounds[middle], key)) low = middle + 1
      else high = middle
    }
    return ascending ? low : partitions - 1 - low
  }
}

/** Bounds of one type need no general comparison as long as the key is of that type too. */
function belowFunction(bounds: readonly unknown[]): (bound: unknown, key: unknown) => boolean {
  if (bounds.every(bound => typeof bound === 'string')) {
    return (bound, key) =>
      typeof key === 'string' ? compareStrings(bound as string, key) < 0 : compareValues(bound, key) < 0
  }
  if (bounds.every(bound => typeof bound === 'number')) {
    return (bound, key) =>
      typeof key === 'number' ? compareNumbers(bound as number, key) < 0 : compareValues(bound, key) < 0
  }
  return (bound, key) => compareValues(bound, key) < 0
}

function customPartition(fn: (key: unknown) => unknown, partitions: number): PartitionOf {
  return key => {
    const result = fn(key)
    if (!Number.isInteger(result)) {
      throw new TypeError(`the partition function returned ${String(result)}; it must return a whole number`)
    }
    const remainder = (result as number) % partitions
    return remainder < 0 ? remainder + partitions : remainder + 0
  }
}
