import { type Pair, partitioning, type Row, type Widen } from './dataset.ts'
import { ElementOperators } from './element-operators.ts'
import { sketchPrecision } from './approximate.ts'
import { builtin } from './lineage.ts'
import { cogrouped, combined, KEYS, steps, VALUES } from './operators/builders.ts'
import * as byKey from './operators/by-key.ts'
import * as ordering from './operators/ordering.ts'
import { type Fractions, sampledByKey, sampledByKeyExactly } from './operators/sampling.ts'
import type { RDD } from './rdd.ts'

type PartitionFunc<K> = (key: K) => number
/** A list of values for each dataset. */
type Lists<Values extends readonly unknown[]> = { [I in keyof Values]: Values[I][] }
type PairSets<K, Values extends readonly unknown[]> = { [I in keyof Values]: RDD<Pair<K, Values[I]>> }

/**
 * Operators on pairs: they exist where elements are pairs, `[key, value]`. Keys are compared by content. An optional
 * `numPartitions` defaults to that of the largest parent; where a parent is partitioned as wanted, nothing is shuffled.
 * `partitionFunc(key)` is taken modulo `numPartitions`, never negative.
 */
export abstract class PairOperators<T> extends ElementOperators<T> {
  // One pair at a time.

  keys<K>(this: RDD<Pair<K, unknown>>): RDD<K> {
    return this.derived(steps(this.lineage, 'keys', [KEYS]))
  }

  values<V>(this: RDD<Pair<unknown, V>>): RDD<V> {
    return this.derived(steps(this.lineage, 'values', [VALUES]))
  }

  mapValues<K, V, U extends Row>(this: RDD<Pair<K, V>>, fn: (value: V) => U): RDD<Pair<K, U>> {
    const step = { op: 'map', fn: builtin('mapValues', [this.fn(fn, 'mapValues')]) } as const
    return this.derived(steps(this.lineage, 'mapValues', [step], true))
  }

  flatMapValues<K, V, U extends Row>(this: RDD<Pair<K, V>>, fn: (value: V) => Iterable<U>): RDD<Pair<K, U>> {
    const step = { op: 'flatMap', fn: builtin('flatMapValues', [this.fn(fn, 'flatMapValues')]) } as const
    return this.derived(steps(this.lineage, 'flatMapValues', [step], true))
  }

  /**
   * A sample with its own fraction for each key; a key without one is an error when its first pair is met.
   * @param fractions A Map, or an object for keys that are strings.
   */
  sampleByKey<K, V>(
    this: RDD<Pair<K, V>>,
    withReplacement: boolean,
    fractions: Fractions<K>,
    seed?: number,
  ): RDD<Pair<K, V>> {
    return this.derived(sampledByKey(this.lineage, withReplacement, fractions, seed))
  }

  /** The same with exactly ceil(fraction · count) pairs of each key: the first action runs a job that counts them. */
  sampleByKeyExact<K, V>(
    this: RDD<Pair<K, V>>,
    withReplacement: boolean,
    fractions: Fractions<K>,
    seed?: number,
  ): RDD<Pair<K, V>> {
    return this.derived(sampledByKeyExactly(this.lineage, withReplacement, fractions, seed))
  }

  // Where keys are.

  partitionBy<K, V>(
    this: RDD<Pair<K, V>>,
    numPartitions: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, V>> {
    const by = this.by('partitionBy', numPartitions, partitionFunc)
    return this.derived(combined(this.lineage, 'partitionBy', by, { kind: 'none' }))
  }

  /** Partitions of neighbouring keys, about equally large, in order; not sorted within. */
  partitionByRange<K, V>(this: RDD<Pair<K, V>>, numPartitions?: number, ascending = true): RDD<Pair<K, V>> {
    const by = ordering.rangePartitioning('partitionByRange', ascending, numPartitions)
    return this.derived(combined(this.lineage, 'partitionByRange', by, { kind: 'none' }))
  }

  sortByKey<K, V>(
    this: RDD<Pair<K, V>>,
    ascending = true,
    numPartitions?: number,
    keyFunc?: (key: K) => unknown,
  ): RDD<Pair<K, V>> {
    const by = keyFunc === undefined ? undefined : this.fn(keyFunc, 'sortByKey')
    return this.derived(ordering.sortedByKey(this.lineage, by, { ascending, numPartitions }))
  }

  /** Partitioned by `partitionFunc`, each partition sorted by `keyFunc(key)`: cheaper than doing one after the other. */
  repartitionAndSortWithinPartitions<K, V>(
    this: RDD<Pair<K, V>>,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
    ascending = true,
    keyFunc?: (key: K) => unknown,
  ): RDD<Pair<K, V>> {
    const label = 'repartitionAndSortWithinPartitions'
    const by = this.by(label, numPartitions, partitionFunc)
    const key = keyFunc === undefined ? undefined : this.fn(keyFunc, label)
    return this.derived(ordering.sortedWithinPartitions(this.lineage, by, ascending, key))
  }

  /** Pairs with `lower` ≤ key ≤ `upper`. After a sort by key, partitions out of the range are not computed at all. */
  filterByRange<K, V>(this: RDD<Pair<K, V>>, lower: K, upper: K): RDD<Pair<K, V>> {
    return this.derived(ordering.filteredByRange(this.lineage, lower, upper))
  }

  // Values of one key brought together.

  /** All values of each key in one array, in partition order. To reduce them, reduceByKey moves less. */
  groupByKey<K, V>(
    this: RDD<Pair<K, V>>,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, V[]>> {
    const by = this.by('groupByKey', numPartitions, partitionFunc)
    return this.derived(combined(this.lineage, 'groupByKey', by, { kind: 'group' }))
  }

  /** Combines before sending. `fn` should be associative; values come in partition order. */
  reduceByKey<K, V>(
    this: RDD<Pair<K, V>>,
    fn: (left: Widen<V>, right: Widen<V>) => Widen<V>,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, Widen<V>>> {
    const by = this.by('reduceByKey', numPartitions, partitionFunc)
    const combine = { kind: 'reduce', fn: this.fn(fn, 'reduceByKey') } as const
    return this.derived(combined(this.lineage, 'reduceByKey', by, combine))
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
    const by = this.by(label, numPartitions, partitionFunc)
    const combine = {
      kind: 'aggregate',
      create: this.fn(createCombiner, label),
      mergeValue: this.fn(mergeValue, label),
      mergeCombiners: this.fn(mergeCombiners, label),
      mapSide: true,
    } as const
    return this.derived(combined(this.lineage, label, by, combine))
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
    const by = this.by(label, numPartitions, partitionFunc)
    const [seq, comb] = [this.fn(seqFunc, label), this.fn(combFunc, label)]
    return this.derived(byKey.aggregated(this.lineage, label, by, zero, seq, comb))
  }

  foldByKey<K, V>(
    this: RDD<Pair<K, V>>,
    zero: Widen<V>,
    fn: (left: Widen<V>, right: Widen<V>) => Widen<V>,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, Widen<V>>> {
    const label = 'foldByKey'
    const by = this.by(label, numPartitions, partitionFunc)
    const fold = this.fn(fn, label)
    return this.derived(byKey.aggregated(this.lineage, label, by, zero, fold, fold))
  }

  /** Pairs [key, about how many different values it has]. @param relativeSD As of countApproxDistinct. */
  countApproxDistinctByKey<K, V>(
    this: RDD<Pair<K, V>>,
    relativeSD = 0.05,
    numPartitions?: number,
    partitionFunc?: PartitionFunc<K>,
  ): RDD<Pair<K, number>> {
    const label = 'countApproxDistinctByKey'
    const precision = sketchPrecision(label, relativeSD)
    const by = this.by(label, numPartitions, partitionFunc)
    return this.derived(byKey.approxDistinctByKey(this.lineage, by, precision))
  }

  // Two datasets by key. Every left value meets every right one.

  join<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V, W>>> {
    const by = partitioning('join', numPartitions, undefined)
    const keep = { left: false, right: false }
    return this.derived(byKey.joined(this.lineage, other.lineage, 'join', by, keep))
  }

  /** `null` where the other has no such key. */
  leftOuterJoin<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V, W | null>>> {
    const by = partitioning('leftOuterJoin', numPartitions, undefined)
    const keep = { left: true, right: false }
    return this.derived(byKey.joined(this.lineage, other.lineage, 'leftOuterJoin', by, keep))
  }

  rightOuterJoin<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V | null, W>>> {
    const by = partitioning('rightOuterJoin', numPartitions, undefined)
    const keep = { left: false, right: true }
    return this.derived(byKey.joined(this.lineage, other.lineage, 'rightOuterJoin', by, keep))
  }

  fullOuterJoin<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V | null, W | null>>> {
    const by = partitioning('fullOuterJoin', numPartitions, undefined)
    const keep = { left: true, right: true }
    return this.derived(byKey.joined(this.lineage, other.lineage, 'fullOuterJoin', by, keep))
  }

  /** Pairs whose key the other has; the other's values do not matter, nor how many there are. */
  intersectByKey<K, V>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, unknown>>,
    numPartitions?: number,
  ): RDD<Pair<K, V>> {
    const by = partitioning('intersectByKey', numPartitions, undefined)
    return this.derived(byKey.semiJoined(this.lineage, other.lineage, 'intersectByKey', by, 'present'))
  }

  /** Pairs whose key the other has not. */
  subtractByKey<K, V>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, unknown>>,
    numPartitions?: number,
  ): RDD<Pair<K, V>> {
    const by = partitioning('subtractByKey', numPartitions, undefined)
    return this.derived(byKey.semiJoined(this.lineage, other.lineage, 'subtractByKey', by, 'absent'))
  }

  /** The values of each key in each of the two, an empty array where it has none. */
  cogroup<K, V, W>(
    this: RDD<Pair<K, V>>,
    other: RDD<Pair<K, W>>,
    numPartitions?: number,
  ): RDD<Pair<K, Pair<V[], W[]>>> {
    const by = partitioning('cogroup', numPartitions, undefined)
    return this.derived(cogrouped([this.lineage, other.lineage], 'cogroup', by))
  }

  /** cogroup of any number of datasets: an array of values for each, in the order given. */
  groupWith<K, V, Others extends readonly unknown[]>(
    this: RDD<Pair<K, V>>,
    ...others: PairSets<K, Others>
  ): RDD<Pair<K, readonly [V[], ...Lists<Others>]>> {
    const parents = [this.lineage, ...(others as readonly RDD<unknown>[]).map(other => other.lineage)]
    return this.derived(cogrouped(parents, 'groupWith', partitioning('groupWith', undefined, undefined)))
  }
}
