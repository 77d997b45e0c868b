import { encodeRows } from '../codec/index.ts'
import { builtin, type Lineage, type LineageFn, type Partitioning } from '../lineage.ts'
import { AS_KEYS, cogrouped, combined, KEYS, steps } from './builders.ts'

/** Values of one key brought together, of one dataset or of several. */

/** One of each element, the first met. */
export function distinct(parent: Lineage, by: Partitioning): Lineage {
  const label = 'distinct'
  const firsts = combined(steps(parent, label, [AS_KEYS]), label, by, {
    kind: 'reduce',
    fn: builtin('first'),
  })
  return steps(firsts, label, [KEYS])
}

/** Each key starts from its own copy of `zero`, as of now. */
export function aggregated(
  parent: Lineage,
  label: string,
  by: Partitioning,
  zero: unknown,
  mergeValue: LineageFn,
  mergeCombiners: LineageFn,
): Lineage {
  const create = builtin('fromZero', [mergeValue], [encodeRows([zero])])
  return combined(parent, label, by, { kind: 'aggregate', create, mergeValue, mergeCombiners, mapSide: true })
}

export function joined(
  left: Lineage,
  right: Lineage,
  label: string,
  by: Partitioning,
  keep: { left: boolean; right: boolean },
): Lineage {
  const fn = builtin('joinGrouped', [], [keep.left, keep.right])
  return steps(cogrouped([left, right], label, by), label, [{ op: 'flatMap', fn }], true)
}

/** Pairs of the left whose key the right has, or has not. */
export function semiJoined(
  left: Lineage,
  right: Lineage,
  label: string,
  by: Partitioning,
  isWanted: 'present' | 'absent',
): Lineage {
  const fn = builtin('leftOfGrouped', [], [isWanted === 'present'])
  return steps(cogrouped([left, right], label, by), label, [{ op: 'flatMap', fn }], true)
}

/** Elements of the left that the right has not; each as often as the left has it. */
export function subtracted(left: Lineage, right: Lineage, by: Partitioning): Lineage {
  const label = 'subtract'
  const asKeys = (side: Lineage): Lineage => steps(side, label, [AS_KEYS])
  return steps(semiJoined(asKeys(left), asKeys(right), label, by, 'absent'), label, [KEYS])
}

/** Elements that both have, each once. */
export function intersected(left: Lineage, right: Lineage, by: Partitioning): Lineage {
  const label = 'intersection'
  const asKeys = (side: Lineage): Lineage => steps(side, label, [AS_KEYS])
  const both = { op: 'filter', fn: builtin('inAllGroups') } as const
  return steps(cogrouped([asKeys(left), asKeys(right)], label, by), label, [both, KEYS])
}

/** Pairs [key, about how many different values it has]. @param precision Bits of a place: 2^precision bytes a key. */
export function approxDistinctByKey(parent: Lineage, by: Partitioning, precision: number): Lineage {
  const label = 'countApproxDistinctByKey'
  const sketches = combined(parent, label, by, {
    kind: 'aggregate',
    create: builtin('sketchOf', [], [precision]),
    mergeValue: builtin('sketchAdd', [], [precision]),
    mergeCombiners: builtin('sketchMerge'),
    mapSide: true,
  })
  return steps(sketches, label, [{ op: 'map', fn: builtin('mapValues', [builtin('sketchEstimate')]) }], true)
}
