import type { CombineSpec, FunctionRef } from '../plan.ts'
import { DiskList } from './disk-list.ts'
import type { UserFunction } from './fused-loop.ts'
import { retained } from './retained-string.ts'
import type { TaskSpill } from './task-spill.ts'

/** A place in memory or on disk that values are added to. */
export interface ValueList {
  readonly length: number
  push(value: unknown): unknown
}

/**
 * What becomes of the values of one key on the reduce side, as plain functions: what the generated loop has inlined, for
 * the values that had to wait on disk.
 */
export interface Folding {
  /** The first value of a key. `side`: which parent of a cogroup it is of, else 0. */
  create: (value: unknown, side: number) => unknown
  /** One more; the new combined value. */
  merge: (combined: unknown, value: unknown, side: number) => unknown
  /** Where combined values are lists: one for each side. */
  lists: ((combined: unknown) => ValueList[]) | null
  /** Puts other lists in their place. */
  fromLists: (lists: ValueList[]) => unknown
}

/** `none` has none: it groups, were it asked to. */
export function foldingOf(combine: CombineSpec, resolve: (ref: FunctionRef) => UserFunction): Folding {
  switch (combine.kind) {
    case 'none':
    case 'group':
      return GROUPING
    case 'reduce':
      return combining(null, resolve(combine.fn))
    case 'aggregate':
      return combine.mapSide
        ? combining(null, resolve(combine.mergeCombiners))
        : combining(resolve(combine.create), resolve(combine.mergeValue))
  }
}

const GROUPING: Folding = {
  create: value => [value],
  merge: (list, value) => {
    ;(list as ValueList).push(value)
    return list
  },
  lists: list => [list as ValueList],
  fromLists: ([list]) => list,
}

export function cogrouping(sides: number): Folding {
  return {
    create: (value, side) => Array.from({ length: sides }, (_, i) => (i === side ? [value] : [])),
    merge: (lists, value, side) => {
      ;(lists as ValueList[])[side]!.push(value)
      return lists
    },
    lists: lists => lists as ValueList[],
    fromLists: lists => lists,
  }
}

function combining(create: UserFunction | null, merge: UserFunction): Folding {
  const made = create as ((value: unknown) => unknown) | null
  const merged = merge as (left: unknown, right: unknown) => unknown
  return {
    create: value => (made === null ? retained(value) : made(value)),
    merge: (combined, value) => merged(combined, value),
    lists: null,
    fromLists: lists => lists,
  }
}

/**
 * Of all the lists of a table that with most values goes to disk.
 * @param force Even if that frees less than half of them.
 */
export function moveHeavyList(
  { lists, fromLists }: Folding,
  values: unknown[],
  spill: TaskSpill,
  force: boolean,
): DiskList | null {
  if (lists === null) return null
  let total = 0
  let heaviest: ValueList | undefined
  let at = -1
  for (let i = 0; i < values.length; i++) {
    for (const list of lists(values[i])) {
      if (list instanceof DiskList) continue
      total += list.length
      if (heaviest !== undefined && list.length <= heaviest.length) continue
      heaviest = list
      at = i
    }
  }
  if (heaviest === undefined || heaviest.length < (force ? 1 : HEAVY_MIN)) return null
  if (!force && 2 * heaviest.length < total) return null
  const onDisk = new DiskList(spill, heaviest as unknown[])
  values[at] = fromLists(lists(values[at]).map(list => (list === heaviest ? onDisk : list)))
  return onDisk
}

/** Fewer values are not worth a list of their own on disk. */
const HEAVY_MIN = 64
