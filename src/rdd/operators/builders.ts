import { origin } from '../dataset.ts'
import {
  builtin,
  type Lineage,
  type LineageCombine,
  type LineageFn,
  type LineageStep,
  type Partitioning,
  type Probe,
} from '../lineage.ts'

/** Lineages of one node: what operators are composed of. `label` is the operator as the user knows it. */

export function steps(
  parent: Lineage,
  label: string,
  some: readonly LineageStep[],
  keepsPartitioner = false,
): Lineage {
  return { op: 'steps', ...origin(label), parent, steps: some, keepsPartitioner }
}

export function combined(parent: Lineage, label: string, by: Partitioning, combine: LineageCombine): Lineage {
  return { op: 'combine', ...origin(label), parent, by, combine }
}

export function cogrouped(parents: readonly Lineage[], label: string, by: Partitioning): Lineage {
  return { op: 'cogroup', ...origin(label), parents, by }
}

export function zipped(parents: readonly Lineage[], label: string, fn: LineageFn): Lineage {
  return { op: 'zip', ...origin(label), parents, fn }
}

export function deferred(
  parents: readonly Lineage[],
  label: string,
  make: (probe: Probe) => Promise<Lineage>,
): Lineage {
  return { op: 'deferred', ...origin(label), parents, make }
}

export const KEYS: LineageStep = { op: 'map', fn: builtin('pairKey') }
export const VALUES: LineageStep = { op: 'map', fn: builtin('pairValue') }

/** Pairs [fn(element), element]. */
export function keyed(fn: LineageFn): LineageStep {
  return { op: 'map', fn: builtin('keyBy', [fn]) }
}

/** Pairs [element, null]: elements as keys. */
export const AS_KEYS: LineageStep = { op: 'map', fn: builtin('withNull') }
