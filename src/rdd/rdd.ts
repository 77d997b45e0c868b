import { encodeRows } from './codec/index.ts'
import {
  type Elements,
  origin,
  type Pair,
  partitionCount,
  partitioning,
  type Row,
  type Widen,
} from './dataset.ts'
import { DatasetActions } from './dataset-actions.ts'
import {
  builtin,
  type Lineage,
  type LineageCombine,
  type LineageFn,
  type LineageStep,
  type Partitioning,
} from './lineage.ts'

/** Rows [key, [values here, values there]]. */
type Cogrouped<K, V, W> = Pair<K, Pair<V[], W[]>>
type PartitionFunc<K> = (key: K) => number

/**
 * A resilient distributed dataset: a lazy, immutable description of elements in partitions. Operators give new RDDs and
 * run nothing; actions (dataset-actions.ts) run a job. Names, argument order and meaning are PySpark's.
 *
 * Operators on pairs exist where elements are pairs, `[key, value]`. Keys are compared by content. An optional
 * `numPartitions` defaults to that of the largest parent; where a parent is partitioned as wanted, nothing is shuffled.
 *
 * To add an operator: compose it below from `#steps`, `#combine` and `#cogroup`, and give new builtins a maker.
 */
export class RDD<T> extends DatasetActions<T> {
  // One partition at a time. `preservesPartitioning` promises that keys stay as they are.

  map<U extends Row>(fn: (element: T) => U, preservesPartitioning = false): RDD<U> {
    return this.#steps('map', [{ op: 'map', fn: this.fn(fn, 'map') }], preservesPartitioning)
  }

  filter<U extends T>(fn: (element: T) => element is U): RDD<U>
  filter(fn: (element: T) => unknown): RDD<T>
  filter(fn: (element: T) => unknown): RDD<T> {
    return this.#steps('filter', [{ op: 'filter', fn: this.fn(fn, 'filter') }], true)
  }

  /** `fn` may return any iterable. */
  flatMap<U extends Row>(fn: (element: T) => Iterable<U>, preservesPartitioning = false): RDD<U> {
    return this.#steps('flatMap', [{ op: 'flatMap', fn: this.fn(fn, 'flatMap') }], preservesPartitioning)
  }

  mapPartitions<U extends Row>(
    fn: (elements: Elements<T>) => Iterable<U>,
    preservesPartitioning = false,
  ): RDD<U> {
    const each = builtin('elementsOnly', [this.fn(fn, 'mapPartitions')])
    return this.#steps('mapPartitions', [{ op: 'mapPartitions', fn: each }], preservesPartitioning)
  }

  mapPartitionsWithIndex<U extends Row>(
    fn: (index: number, elements: Elements<T>) => Iterable<U>,
    preservesPartitioning = false,
  ): RDD<U> {
    const each = builtin('indexFirst', [this.fn(fn, 'mapPartitionsWithIndex')])
    return this.#steps('mapPartitionsWithIndex', [{ op: 'mapPartitions', fn: each }], preservesPartitioning)
  }

  /** Each partition as one array. */
  glom(): RDD<T[]> {
    return this.#steps('glom', [{ op: 'mapPartitions', fn: builtin('glom') }], false)
  }

  keyBy<K>(fn: (element: T) => K): RDD<Pair<K, T>> {
    return this.#steps('keyBy', [keyed(this.fn(fn, 'keyBy'))], false)
  }

  keys<K>(this: RDD<Pair<K, unknown>>): RDD<K> {
    return this.#steps('keys', [KEYS], false)
  }

  values<V>(this: RDD<Pair<unknown, V>>): RDD<V> {
    return this.#steps('values', [VALUES], false)
  }

  mapValues<K, V, U extends Row>(this: RDD<Pair<K, V>>, fn: (value: V) => U): RDD<Pair<K, U>> {
    const onValue = builtin('mapValues', [this.fn(fn, 'mapValues')])
    return this.#steps('mapValues', [{ op: 'map', fn: onValue }], true)
  }

  flatMapValues<K, V, U extends Row>(this: RDD<Pair<K, V>>, fn: (value: V) => Iterable<U>): RDD<Pair<K, U>> {
    const onValue = builtin('flatMapValues', [this.fn(fn, 'flatMapValues')])
    return this.#steps('flatMapValues', [{ op: 'flatMap', fn: onValue }], true)
  }

  // Several datasets, or another arrangement of one.

  /** The elements of all, duplicates kept, partitions one after the other. */
  union<U = T>(...others: RDD<U>[]): RDD<T | U> {
    const parents = [this.lineage, ...others.map(other => other.lineage)]
    return this.#derived({ op: 'union', ...origin('union'), parents })
  }

  /**
   * Fewer partitions without a shuffle: neighbours become one. Never more than there are: that is repartition.
   * Fewer partitions also means fewer tasks for all before it, down to the next shuffle.
   */
  coalesce(numPartitions: number, shuffle = false): RDD<T> {
    if (shuffle) return this.repartition(numPartitions)
    const partitions = partitionCount('coalesce', numPartitions)
    return this.#derived({ op: 'coalesce', ...origin('coalesce'), parent: this.lineage, partitions })
  }

  /**
   * Pairs of elements at the same place. Both need as many partitions, with as many elements each (ZIP_LENGTHS names
   * the partition and both counts); else use zipByIndex.
   */
  zip<U>(other: RDD<U>): RDD<Pair<T, U>> {
    const parents = [this.lineage, other.lineage]
    return this.#derived({ op: 'zip', ...origin('zip'), parents, fn: builtin('zip') })
  }

  /** `fn` gets an iterator over each one's partition of the same number; all need as many partitions. */
  zipPartitions<Others extends readonly unknown[], U extends Row>(
    others: readonly [...{ [I in keyof Others]: RDD<Others[I]> }],
    fn: (...sides: [Elements<T>, ...{ [I in keyof Others]: Elements<Others[I]> }]) => Iterable<U>,
  ): RDD<U> {
    const parents = [this.lineage, ...others.map(other => other.lineage)]
    const sides = builtin('spread', [this.fn(fn, 'zipPartitions')])
    return this.#derived({ op: 'zip', ...origin('zipPartitions'), parents, fn: sides })
  }

  /** Every element with every element of the other: as many partitions as the product of both. */
  cartesian<U>(other: RDD<U>): RDD<Pair<T, U>> {
    const parents = [this.lineage, other.lineage] as const
    return this.#derived({ op: 'cartesian', ...origin('cartesian'), parents })
  }

  /** One of each (by content), the first met. */
  distinct(numPartitions?: number): RDD<T> {
    const marked = this.#steps<Pair<T, null>>('distinct', [{ op: 'map', fn: builtin('withNull') }], false)
    const by = partitioning('distinct', numPartitions, undefined)
    const firsts = marked.#combine<Pair<T, null>>('distinct', by, { kind: 'reduce', fn: builtin('first') })
    return firsts.#steps('distinct', [KEYS], false)
  }

  /** Spreads the elements evenly, one after the other, over `numPartitions` partitions; always shuffles. */
  repartition(numPartitions: number): RDD<T> {
    const partitions = partitionCount('repartition', numPartitions)
    const dealt = builtin('dealOut', [], [partitions])
    const keyed = this.#steps('repartition', [{ op: 'mapPartitions', fn: dealt }], false)
    const by = { kind: 'custom', partitions, fn: builtin('identity') } as const
    return keyed.#combine('repartition', by, { kind: 'none' }).#steps('repartition', [VALUES], false)
  }

  /**
   * Sorted by `keyFunc(element)` in the default order: numbers by value. Stable. The first action that needs it runs a
   * small job that samples the keys, so that the partitions come out even.
   */
  sortBy(keyFunc: (element: T) => unknown, ascending = true, numPartitions?: number): RDD<T> {
    return this.#sorted('sortBy', [keyed(this.fn(keyFunc, 'sortBy'))], ascending, numPartitions).#steps(
      'sortBy',
      [VALUES],
      false,
    )
  }

  sortByKey<K, V>(
    this: RDD<Pair<K, V>>,
    ascending = true,
    numPartitions?: number,
    keyFunc?: (key: K) => unknown,
  ): RDD<Pair<K, V>> {
    if (keyFunc === undefined) return this.#sorted('sortByKey', [], ascending, numPartitions)
    const by = builtin('keyByPairKey', [this.fn(keyFunc, 'sortByKey')])
    return this.#sorted('sortByKey', [{ op: 'map', fn: by }], ascending, numPartitions).#steps(
      'sortByKey',
      [VALUES],
      false,
    )
  }

  /** `partitionFunc(key)` is taken modulo `numPartitions`, never negative. */
  partitionBy<K, V>(
    this: RDD<Pair<K, V>>,
    numPartitions: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, V>> {
    return this.#combine('partitionBy', this.#by('partitionBy', numPartitions, partitionFunc), {
      kind: 'none',
    })
  }

  // Values of one key brought together.

  groupBy<K>(
    fn: (element: T) => K,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, T[]>> {
    const by = this.#by('groupBy', numPartitions, partitionFunc)
    return this.#steps<Pair<K, T>>('groupBy', [keyed(this.fn(fn, 'groupBy'))], false).#combine(
      'groupBy',
      by,
      {
        kind: 'group',
      },
    )
  }

  /** All values of each key in one array, in partition order. To reduce them, reduceByKey moves less. */
  groupByKey<K, V>(
    this: RDD<Pair<K, V>>,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, V[]>> {
    return this.#combine('groupByKey', this.#by('groupByKey', numPartitions, partitionFunc), {
      kind: 'group',
    })
  }

  /** Combines before sending. `fn` should be associative; values come in partition order. */
  reduceByKey<K, V>(
    this: RDD<Pair<K, V>>,
    fn: (left: Widen<V>, right: Widen<V>) => Widen<V>,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, Widen<V>>> {
    return this.#combine('reduceByKey', this.#by('reduceByKey', numPartitions, partitionFunc), {
      kind: 'reduce',
      fn: this.fn(fn, 'reduceByKey'),
    })
  }

  combineByKey<K, V, C>(
    this: RDD<Pair<K, V>>,
    createCombiner: (value: V) => C,
    mergeValue: (combiner: C, value: V) => C,
    mergeCombiners: (left: C, right: C) => C,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, C>> {
    const label = 'combineByKey'
    return this.#combine(label, this.#by(label, numPartitions, partitionFunc), {
      kind: 'aggregate',
      create: this.fn(createCombiner, label),
      mergeValue: this.fn(mergeValue, label),
      mergeCombiners: this.fn(mergeCombiners, label),
      mapSide: true,
    })
  }

  /** Each key starts from its own copy of `zero`, as of now. */
  aggregateByKey<K, V, U>(
    this: RDD<Pair<K, V>>,
    zero: U,
    seqFunc: (accumulated: U, value: V) => U,
    combFunc: (left: U, right: U) => U,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, U>> {
    const label = 'aggregateByKey'
    const by = this.#by(label, numPartitions, partitionFunc)
    return this.#aggregated(label, zero, this.fn(seqFunc, label), this.fn(combFunc, label), by)
  }

  foldByKey<K, V>(
    this: RDD<Pair<K, V>>,
    zero: Widen<V>,
    fn: (left: Widen<V>, right: Widen<V>) => Widen<V>,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, Widen<V>>> {
    const shipped = this.fn(fn, 'foldByKey')
    const by = this.#by('foldByKey', numPartitions, partitionFunc)
    return this.#aggregated('foldByKey', zero, shipped, shipped, by)
  }

  // Two datasets by key. Every left value meets every right one.

  join<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V, W>>> {
    return this.#join('join', other, numPartitions, false, false)
  }

  /** `null` where the other has no such key. */
  leftOuterJoin<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V, W | null>>> {
    return this.#join('leftOuterJoin', other, numPartitions, true, false)
  }

  rightOuterJoin<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V | null, W>>> {
    return this.#join('rightOuterJoin', other, numPartitions, false, true)
  }

  fullOuterJoin<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V | null, W | null>>> {
    return this.#join('fullOuterJoin', other, numPartitions, true, true)
  }

  /** The values of each key in each of the two, an empty array where it has none. */
  cogroup<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Cogrouped<K, V, W>> {
    return this.#cogroup('cogroup', other, numPartitions)
  }

  // How it is kept and called. These change this RDD, as in PySpark, but never its elements.

  /** Keeps computed partitions in the memory of the peers that computed them, from the next action on. */
  cache(): this {
    this.lineage.marks.cached = true
    return this
  }

  persist(): this {
    return this.cache()
  }

  unpersist(): this {
    const { marks } = this.lineage
    marks.cached = false
    if (marks.keptAs.size > 0) this.environment.runner.forget([...marks.keptAs])
    marks.keptAs.clear()
    return this
  }

  setName(name: string): this {
    this.lineage.marks.name = name
    return this
  }

  name(): string | undefined {
    return this.lineage.marks.name
  }

  #derived<U>(lineage: Lineage): RDD<U> {
    return new RDD<U>(this.environment, lineage)
  }

  #steps<U>(label: string, steps: readonly LineageStep[], keepsPartitioner: boolean): RDD<U> {
    return this.#derived({ op: 'steps', ...origin(label), parent: this.lineage, steps, keepsPartitioner })
  }

  #combine<U>(label: string, by: Partitioning, combine: LineageCombine): RDD<U> {
    return this.#derived({ op: 'combine', ...origin(label), parent: this.lineage, by, combine })
  }

  #aggregated<U>(label: string, zero: unknown, seq: LineageFn, comb: LineageFn, by: Partitioning): RDD<U> {
    const create = builtin('fromZero', [seq], [encodeRows([zero])])
    return this.#combine(label, by, {
      kind: 'aggregate',
      create,
      mergeValue: seq,
      mergeCombiners: comb,
      mapSide: true,
    })
  }

  #cogroup<K, V, W>(label: string, other: RDD<Pair<K, W>>, numPartitions?: number): RDD<Cogrouped<K, V, W>> {
    const parents = [this.lineage, other.lineage]
    return this.#derived({
      op: 'cogroup',
      ...origin(label),
      parents,
      by: partitioning(label, numPartitions, undefined),
    })
  }

  #join<K, W, U>(
    label: string,
    other: RDD<Pair<K, W>>,
    numPartitions: number | undefined,
    keepLeft: boolean,
    keepRight: boolean,
  ): RDD<U> {
    const rows = builtin('joinGrouped', [], [keepLeft, keepRight])
    return this.#cogroup(label, other, numPartitions).#steps(label, [{ op: 'flatMap', fn: rows }], true)
  }

  /** Pairs (made by `steps`) in ranges of their keys, each range sorted. */
  #sorted<U>(
    label: string,
    steps: readonly LineageStep[],
    ascending: boolean,
    numPartitions: number | undefined,
  ): RDD<U> {
    const count = numPartitions === undefined ? {} : { partitions: partitionCount(label, numPartitions) }
    const pairs = steps.length === 0 ? this : this.#steps<Pair<unknown, T>>(label, steps, false)
    const ranged = pairs.#combine(label, { kind: 'range', ascending, ...count }, { kind: 'none' })
    return ranged.#steps(label, [{ op: 'sort', by: builtin('pairKey'), ascending }], true)
  }

  #by<K>(
    label: string,
    numPartitions: number | undefined,
    partitionFunc: PartitionFunc<K> | undefined,
  ): Partitioning {
    const fn = partitionFunc === undefined ? undefined : this.fn(partitionFunc, label)
    return partitioning(label, numPartitions, fn)
  }
}

const KEYS: LineageStep = { op: 'map', fn: builtin('pairKey') }
const VALUES: LineageStep = { op: 'map', fn: builtin('pairValue') }

function keyed(fn: LineageFn): LineageStep {
  return { op: 'map', fn: builtin('keyBy', [fn]) }
}
