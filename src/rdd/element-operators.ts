import { type Elements, origin, type Pair, partitionCount, partitioning, type Row } from './dataset.ts'
import { FutureActions } from './future-actions.ts'
import { builtin, type LineageFn } from './lineage.ts'
import { combined, keyed, steps, VALUES, zipped } from './operators/builders.ts'
import * as byKey from './operators/by-key.ts'
import { asyncStep, piped, type AsyncOptions } from './operators/external.ts'
import * as indexing from './operators/indexing.ts'
import { sortedBy } from './operators/ordering.ts'
import * as sampling from './operators/sampling.ts'
import type { RDD } from './rdd.ts'

/** Operators on elements of any kind. Each only adds to the lineage; how it is built is in operators/. */
export abstract class ElementOperators<T> extends FutureActions<T> {
  // One partition at a time. `preservesPartitioning` promises that keys stay as they are.

  map<U extends Row>(fn: (element: T) => U, preservesPartitioning = false): RDD<U> {
    const step = { op: 'map', fn: this.fn(fn, 'map') } as const
    return this.derived(steps(this.lineage, 'map', [step], preservesPartitioning))
  }

  filter<U extends T>(fn: (element: T) => element is U): RDD<U>
  filter(fn: (element: T) => unknown): RDD<T>
  filter(fn: (element: T) => unknown): RDD<T> {
    const step = { op: 'filter', fn: this.fn(fn, 'filter') } as const
    return this.derived(steps(this.lineage, 'filter', [step], true))
  }

  /** `fn` may return any iterable. */
  flatMap<U extends Row>(fn: (element: T) => Iterable<U>, preservesPartitioning = false): RDD<U> {
    const step = { op: 'flatMap', fn: this.fn(fn, 'flatMap') } as const
    return this.derived(steps(this.lineage, 'flatMap', [step], preservesPartitioning))
  }

  mapPartitions<U extends Row>(
    fn: (elements: Elements<T>) => Iterable<U>,
    preservesPartitioning = false,
  ): RDD<U> {
    const each = builtin('elementsOnly', [this.fn(fn, 'mapPartitions')])
    return this.#overPartitions('mapPartitions', each, preservesPartitioning)
  }

  mapPartitionsWithIndex<U extends Row>(
    fn: (index: number, elements: Elements<T>) => Iterable<U>,
    preservesPartitioning = false,
  ): RDD<U> {
    const each = builtin('indexFirst', [this.fn(fn, 'mapPartitionsWithIndex')])
    return this.#overPartitions('mapPartitionsWithIndex', each, preservesPartitioning)
  }

  /** Each partition as one array. */
  glom(): RDD<T[]> {
    return this.#overPartitions('glom', builtin('glom'), false)
  }

  keyBy<K>(fn: (element: T) => K): RDD<Pair<K, T>> {
    return this.derived(steps(this.lineage, 'keyBy', [keyed(this.fn(fn, 'keyBy'))]))
  }

  /** `map` with a function that may wait: so many calls at once in each partition; results in the order of the elements. */
  mapAsync<U extends Row>(fn: (element: T) => PromiseLike<U> | U, options: AsyncOptions = {}): RDD<U> {
    return this.derived(asyncStep(this.lineage, 'mapAsync', this.fn(fn, 'mapAsync'), options))
  }

  /** `flatMap` likewise; `fn` may also return an async iterable, whose elements are gathered. */
  flatMapAsync<U extends Row>(
    fn: (element: T) => PromiseLike<Iterable<U> | AsyncIterable<U>> | Iterable<U> | AsyncIterable<U>,
    options: AsyncOptions = {},
  ): RDD<U> {
    return this.derived(asyncStep(this.lineage, 'flatMapAsync', this.fn(fn, 'flatMapAsync'), options))
  }

  /**
   * Lines that an external command makes of the elements: each partition is streamed through a process of its own on
   * the peer that computes it, an element a line. No shell is involved: `command` is split into words at white space
   * (quotes keep words together), or given as an array.
   * @param env Added to the peer's environment.
   * @param checkCode False takes what a failed command wrote for its answer; else the task fails with its error output.
   */
  pipe(
    command: string | readonly string[],
    env: Readonly<Record<string, string>> = {},
    checkCode = true,
  ): RDD<string> {
    return this.derived(piped(this.lineage, command, env, checkCode))
  }

  // Samples. The same seed gives the same sample, whatever peers draw it; without one it is drawn anew for each call.

  /**
   * About `fraction` of the elements, each drawn on its own.
   * @param withReplacement Elements may come several times, `fraction` times on average; which may be more than 1.
   */
  sample(withReplacement: boolean, fraction: number, seed?: number): RDD<T> {
    return this.derived(sampling.sampled(this.lineage, withReplacement, fraction, seed))
  }

  /** Parts with about these shares of the elements; each element is in exactly one. */
  randomSplit(weights: readonly number[], seed?: number): RDD<T>[] {
    return sampling.split(this.lineage, weights, seed).map(part => this.derived<T>(part))
  }

  // Several datasets.

  /** The elements of all, duplicates kept, partitions one after the other. */
  union<U = T>(...others: RDD<U>[]): RDD<T | U> {
    const parents = [this.lineage, ...others.map(other => other.lineage)]
    return this.derived({ op: 'union', ...origin('union'), parents })
  }

  /** Elements that both have (by content), each once. */
  intersection<U>(other: RDD<U>, numPartitions?: number): RDD<T & U> {
    const by = partitioning('intersection', numPartitions, undefined)
    return this.derived(byKey.intersected(this.lineage, other.lineage, by))
  }

  /** Elements that the other has not (by content); duplicates are kept. */
  subtract<U>(other: RDD<U>, numPartitions?: number): RDD<T> {
    const by = partitioning('subtract', numPartitions, undefined)
    return this.derived(byKey.subtracted(this.lineage, other.lineage, by))
  }

  /** Every element with every element of the other: as many partitions as the product of both. */
  cartesian<U>(other: RDD<U>): RDD<Pair<T, U>> {
    const parents = [this.lineage, other.lineage] as const
    return this.derived({ op: 'cartesian', ...origin('cartesian'), parents })
  }

  /**
   * Pairs of elements at the same place. Both need as many partitions, with as many elements each (ZIP_LENGTHS names
   * the partition and both counts); else use zipByIndex.
   */
  zip<U>(other: RDD<U>): RDD<Pair<T, U>> {
    return this.derived(zipped([this.lineage, other.lineage], 'zip', builtin('zip')))
  }

  /**
   * Pairs of elements at the same place in the whole, however both are partitioned; the other is shuffled. Runs jobs
   * that count both. @throws ZIP_LENGTHS by the first action, if one has more
   */
  zipByIndex<U>(other: RDD<U>): RDD<Pair<T, U>> {
    return this.derived(indexing.zippedByIndex(this.lineage, other.lineage))
  }

  /** `fn` gets an iterator over each one's partition of the same number; all need as many partitions. */
  zipPartitions<Others extends readonly unknown[], U extends Row>(
    others: readonly [...{ [I in keyof Others]: RDD<Others[I]> }],
    fn: (...sides: [Elements<T>, ...{ [I in keyof Others]: Elements<Others[I]> }]) => Iterable<U>,
  ): RDD<U> {
    const parents = [this.lineage, ...others.map(other => other.lineage)]
    return this.derived(zipped(parents, 'zipPartitions', builtin('spread', [this.fn(fn, 'zipPartitions')])))
  }

  /** Pairs [element, its place in the whole]. With several partitions the first action runs a job that counts. */
  zipWithIndex(): RDD<Pair<T, number>> {
    return this.derived(indexing.zippedWithIndex(this.lineage))
  }

  /** Pairs [element, a number that no other has]: k·n + i for the k-th element of partition i of n. Runs no job. */
  zipWithUniqueId(): RDD<Pair<T, number>> {
    return this.derived(indexing.zippedWithUniqueId(this.lineage))
  }

  // Another arrangement.

  /**
   * Fewer partitions without a shuffle: neighbours become one. Never more than there are: that is repartition.
   * Fewer partitions also means fewer tasks for all before it, down to the next shuffle.
   */
  coalesce(numPartitions: number, shuffle = false): RDD<T> {
    if (shuffle) return this.repartition(numPartitions)
    const partitions = partitionCount('coalesce', numPartitions)
    return this.derived({ op: 'coalesce', ...origin('coalesce'), parent: this.lineage, partitions })
  }

  /** Spreads the elements evenly, one after the other, over `numPartitions` partitions; always shuffles. */
  repartition(numPartitions: number): RDD<T> {
    const label = 'repartition'
    const partitions = partitionCount(label, numPartitions)
    const dealt = builtin('dealOut', [], [partitions])
    const targets = steps(this.lineage, label, [{ op: 'mapPartitions', fn: dealt }])
    const by = { kind: 'custom', partitions, fn: builtin('identity') } as const
    return this.derived(steps(combined(targets, label, by, { kind: 'none' }), label, [VALUES]))
  }

  /** One of each (by content), the first met. */
  distinct(numPartitions?: number): RDD<T> {
    return this.derived(byKey.distinct(this.lineage, partitioning('distinct', numPartitions, undefined)))
  }

  groupBy<K>(
    fn: (element: T) => K,
    numPartitions?: number,
    partitionFunc?: (key: K) => number,
  ): RDD<Pair<K, T[]>> {
    const label = 'groupBy'
    const pairs = steps(this.lineage, label, [keyed(this.fn(fn, label))])
    return this.derived(
      combined(pairs, label, this.by(label, numPartitions, partitionFunc), { kind: 'group' }),
    )
  }

  /**
   * Sorted by `keyFunc(element)` in the default order: numbers by value. Stable. The first action that needs it runs a
   * small job that samples the keys, so that the partitions come out even.
   */
  sortBy(keyFunc: (element: T) => unknown, ascending = true, numPartitions?: number): RDD<T> {
    return this.derived(sortedBy(this.lineage, this.fn(keyFunc, 'sortBy'), { ascending, numPartitions }))
  }

  #overPartitions<U>(label: string, fn: LineageFn, keepsPartitioner: boolean): RDD<U> {
    return this.derived(steps(this.lineage, label, [{ op: 'mapPartitions', fn }], keepsPartitioner))
  }
}
