import { ShoalError } from '../../base/errors.ts'
import { seededRandom } from '../../base/random.ts'
import { decodeRows } from '../codec/index.ts'
import { KeyedMap } from '../keyed-map.ts'
import type { KeySample } from '../range-bounds.ts'
import { StatCounter } from '../stat-counter.ts'
import { keyEquals } from './key-equality.ts'
import { compareValues } from './ordering.ts'

/** Gets functions, then plain arguments; returns the function to run. */
export type BuiltinMaker = (...parts: never[]) => (...values: never[]) => unknown

type Elements = Iterable<unknown>
type Pair = readonly [unknown, unknown]
type Unary = (value: unknown) => unknown
type Binary = (left: unknown, right: unknown) => unknown

/**
 * Builtins that take a whole partition, `fn(iterator, partitionIndex)`, or use other parts of the engine. Steps
 * `mapPartitions` take the iterable they return as the new partition; action `partition` takes it as its one row.
 */
export const SHARED_BUILTINS: Record<string, BuiltinMaker> = {
  glom: () => (elements: Elements) => [[...elements]],
  /** mapPartitions: the user's function takes the iterator alone. */
  elementsOnly: (fn: (elements: Elements) => unknown) => (elements: Elements) => fn(elements),
  /** mapPartitionsWithIndex: the index comes first. */
  indexFirst: (fn: (index: number, elements: Elements) => unknown) => (elements: Elements, index: number) =>
    fn(index, elements),
  /** zipPartitions: an iterator a parameter. */
  spread: (fn: (...sides: Elements[]) => unknown) => (sides: readonly Elements[]) => fn(...sides),
  zip: () =>
    function* ([left, right]: readonly [Iterator<unknown>, Iterator<unknown>], partition: number) {
      for (let count = 0; ; count++) {
        const a = left.next()
        const b = right.next()
        if (a.done !== b.done)
          throw zipLengths(partition, a.done === true, count, a.done === true ? right : left)
        if (a.done === true) return
        yield [a.value, b.value]
      }
    },
  /** Action `partition`: what the function returns is the one row of the partition. */
  asOneRow: (fn: (elements: Elements, index: number) => unknown) => (elements: Elements, index: number) => [
    fn(elements, index),
  ],
  /** forEachPartition: what the user's function returns is of no interest. */
  forPartition: (fn: (elements: Elements) => unknown) => (elements: Elements) => {
    fn(elements)
    return null
  },
  /** repartition: pairs [target, element], dealt out in turn; each input starts elsewhere, so that small ones spread. */
  dealOut: (partitions: number) =>
    function* (elements: Elements, index: number) {
      let target = index % partitions
      for (const element of elements) {
        yield [target, element]
        target = (target + 1) % partitions
      }
    },
  /** zipWithIndex: pairs [element, place]. @param starts First place of each partition. */
  indexFrom: (starts: readonly number[]) =>
    function* (elements: Elements, partition: number) {
      let place = starts[partition]!
      for (const element of elements) yield [element, place++]
    },
  /** zipByIndex: the place as the key. */
  placesFirst: (starts: readonly number[]) =>
    function* (elements: Elements, partition: number) {
      let place = starts[partition]!
      for (const element of elements) yield [place++, element]
    },
  uniqueIds: (partitions: number) =>
    function* (elements: Elements, partition: number) {
      let id = partition
      for (const element of elements) {
        yield [element, id]
        id += partitions
      }
    },

  /** treeAggregate, treeReduce, reduceByKeyLocally: what one partition comes to. */
  foldPartition: (fold: Binary, encoded: Uint8Array) => (elements: Elements) => {
    let result = decodeRows(encoded)[0]
    for (const element of elements) result = fold(result, element)
    return [result]
  },
  reducePartition: (fn: Binary) => (elements: Elements) => {
    let result: unknown[] = []
    for (const element of elements) result = [result.length === 0 ? element : fn(result[0], element)]
    return result
  },
  /** Pairs [group, element]: `partitions` partitions in `groups` runs of neighbours. */
  inGroups: (partitions: number, groups: number) =>
    function* (elements: Elements, partition: number) {
      for (const element of elements) yield [Math.floor((partition * groups) / partitions), element]
    },
  reduceByKey: (fn: Binary) => (pairs: Iterable<Pair>) => {
    const values = new KeyedMap<unknown, { value: unknown }>()
    for (const [key, value] of pairs) {
      const known = values.get(key)
      if (known === undefined) values.set(key, { value })
      else known.value = fn(known.value, value)
    }
    return values.entries().map(([key, { value }]) => [key, value])
  },

  /** mapPartitions: one row, how many there are. */
  countElements: () =>
    function* (elements: Elements) {
      let count = 0
      for (const _ of elements) count++
      yield count
    },

  /** histogram: elements in each of the buckets between these bounds, the last of them closed. */
  histogram: (bounds: readonly number[]) => (numbers: Iterable<number>) => {
    const counts = bounds.slice(1).map(() => 0)
    const [least, most] = [bounds[0]!, bounds.at(-1)!]
    for (const value of numbers) {
      if (!(value >= least && value <= most)) continue
      let low = 0
      let high = counts.length - 1
      while (low < high) {
        const middle = (low + high + 1) >>> 1
        if (bounds[middle]! <= value) low = middle
        else high = middle - 1
      }
      counts[low]!++
    }
    return counts
  },

  /** stats: what StatCounter merges. */
  statSummary: () => (numbers: Iterable<number>) => {
    const counter = new StatCounter()
    for (const value of numbers) counter.add(value)
    return counter.summary()
  },
  /** sumApprox: the sum as sum() has it, and what StatCounter merges. */
  sumSummary: () => (numbers: Iterable<number>) => {
    const counter = new StatCounter()
    let sum = 0
    for (const value of numbers) {
      sum += value
      counter.add(value)
    }
    return [sum, counter.summary()]
  },
  /** takeOrdered (sign 1) and top (sign −1): up to `count` pairs [key, element], best first, stable. */
  best: (key: Unary, count: number, sign: 1 | -1) => (elements: Elements) => {
    const order = (left: Pair, right: Pair): number => compareValues(left[0], right[0]) * sign
    const full = Math.max(BEST_BUFFER_MIN, 2 * count)
    let best: Pair[] = []
    let sorted = 0
    for (const element of elements) {
      const candidate: Pair = [key(element), element]
      // Once there are enough, only what beats the last of them can still matter.
      if (sorted >= count && order(candidate, best[count - 1]!) >= 0) continue
      best.push(candidate)
      if (best.length < full) continue
      best = best.sort(order).slice(0, count)
      sorted = best.length
    }
    return best.sort(order).slice(0, count)
  },
  countValues: () => (elements: Elements) => occurrences(elements),
  countKeys: () => (pairs: Iterable<Pair>) => occurrences(keysOf(pairs)),
  /** Sampling for sorts: Algorithm R, seeded by the partition, so that the same data gives the same sample. */
  sampleKeys:
    (size: number) =>
    (pairs: Iterable<Pair>, index: number): KeySample => {
      const random = seededRandom(index)
      const keys: unknown[] = []
      let count = 0
      for (const [key] of pairs) {
        count++
        if (keys.length < size) keys.push(key)
        else {
          const place = Math.floor(random.next() * count)
          if (place < size) keys[place] = key
        }
      }
      return { count, keys }
    },

  /** max (sign 1) and min (sign −1): the left one where they tie. */
  extreme: (key: Unary, sign: 1 | -1) => (left: unknown, right: unknown) =>
    compareValues(key(right), key(left)) * sign > 0 ? right : left,
  pairKeyEquals: (encoded: Uint8Array) => {
    const key = decodeRows(encoded)[0]
    return (pair: Pair) => keyEquals(pair[0], key)
  },
  pairKeyWithin: (encoded: Uint8Array) => {
    const [lower, upper] = decodeRows(encoded)
    return (pair: Pair) => compareValues(pair[0], lower) >= 0 && compareValues(pair[0], upper) <= 0
  },
  /** aggregateByKey, foldByKey: folds a key's first value into its own copy of the zero. */
  fromZero: (fold: Binary, encoded: Uint8Array) => {
    const zero = decodeRows(encoded)[0]
    if (typeof zero !== 'object' || zero === null) return (value: unknown) => fold(zero, value)
    return (value: unknown) => fold(decodeRows(encoded)[0], value)
  },
}

/** `best` sorts and cuts when it holds so many, or twice what is asked for. */
const BEST_BUFFER_MIN = 1024

/** The sides of a zip differ in length. @param longer Its iterator, one past the shorter's end. */
function zipLengths(
  partition: number,
  isLeftShorter: boolean,
  shorter: number,
  longer: Iterator<unknown>,
): ShoalError<'ZIP_LENGTHS'> {
  let count = shorter + 1
  while (longer.next().done !== true) count++
  const [left, right] = isLeftShorter ? [shorter, count] : [count, shorter]
  return new ShoalError(
    'ZIP_LENGTHS',
    { left, right, partition },
    `zip(): partition ${partition} has ${left} elements on the left and ${right} on the right; use zipByIndex() to pair by position whatever the partitions`,
  )
}

function occurrences(elements: Elements): Pair[] {
  const counts = new KeyedMap<unknown, number>()
  for (const element of elements) counts.update(element, 0, count => count + 1)
  return counts.entries() as Pair[]
}

function* keysOf(pairs: Iterable<Pair>): Generator<unknown, void, undefined> {
  for (const pair of pairs) yield pair[0]
}
