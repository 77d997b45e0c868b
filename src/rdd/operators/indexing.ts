import { ShoalError } from '../../base/errors.ts'
import { encodeRows } from '../codec/index.ts'
import { builtin, type Lineage, type Probe } from '../lineage.ts'
import { combined, deferred, steps, VALUES, zipped } from './builders.ts'

/** Elements and their places. */

/** Pairs [element, its place in the whole]. Runs a job that counts all partitions but the last, if there are several. */
export function zippedWithIndex(parent: Lineage): Lineage {
  const label = 'zipWithIndex'
  return deferred([parent], label, async probe => {
    const offsets = await counted(probe, parent, true)
    const fn = builtin('indexFrom', [], [offsets.map(([start]) => start)])
    return steps(parent, label, [{ op: 'mapPartitions', fn }])
  })
}

/** Pairs [element, k·n + i] of the k-th element of partition i of n: no job. */
export function zippedWithUniqueId(parent: Lineage): Lineage {
  const label = 'zipWithUniqueId'
  return deferred([parent], label, async probe => {
    const fn = builtin('uniqueIds', [], [probe.partitions(parent)])
    return steps(parent, label, [{ op: 'mapPartitions', fn }])
  })
}

/**
 * Pairs of elements at the same place in the whole, partitioned as the left one. Two jobs count; then each element of
 * the right goes to the partition where its partner is, in order, and both are zipped.
 */
export function zippedByIndex(left: Lineage, right: Lineage): Lineage {
  const label = 'zipByIndex'
  return deferred([left, right], label, async probe => {
    const lefts = await counted(probe, left, false)
    const rights = await counted(probe, right, false)
    const [here, there] = [lefts.at(-1)?.[1] ?? 0, rights.at(-1)?.[1] ?? 0]
    if (here !== there) {
      throw new ShoalError(
        'ZIP_LENGTHS',
        { left: here, right: there },
        `zipByIndex(): the left RDD has ${here} elements, the right one ${there}`,
      )
    }
    if (lefts.length === 0) return left
    const placed = builtin('placesFirst', [], [rights.map(([start]) => start)])
    // A place belongs to the first partition whose last place is not below it.
    const bounds = encodeRows(lefts.slice(0, -1).map(([, end]) => end - 1))
    const partitions = lefts.length
    const partitioner = { kind: 'range', partitions, bounds, ascending: true } as const
    const aligned = combined(
      steps(right, label, [{ op: 'mapPartitions', fn: placed }]),
      label,
      { kind: 'given', partitions, partitioner },
      { kind: 'none' },
    )
    return zipped([left, steps(aligned, label, [VALUES])], label, builtin('zip'))
  })
}

/** First place of each partition in the whole, and the one after its last; `startsOnly` leaves the very last uncounted. */
async function counted(probe: Probe, parent: Lineage, startsOnly: boolean): Promise<[number, number][]> {
  const partitions = probe.partitions(parent)
  const wanted = Array.from({ length: startsOnly ? Math.max(0, partitions - 1) : partitions }, (_, i) => i)
  const counts = await probe.run(parent, { kind: 'count' }, 'counting', wanted)
  let end = 0
  return counts.map(([count]) => {
    const start = end
    end += (count ?? 0) as number
    return [start, end]
  })
}
