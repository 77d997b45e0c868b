import type { AbortOptions } from '../base/deadline.ts'
import { ShoalError } from '../base/errors.ts'
import { decodeRows, encodeRows } from './codec/index.ts'
import { reviveClosure } from './closure/index.ts'
import { Dataset, type Elements, invalid, type Pair } from './dataset.ts'
import { resolveFunction } from './engine/builtins.ts'
import { compareValues } from './engine/ordering.ts'
import { partitionFunction } from './engine/partition-function.ts'
import { explain, toDebugString } from './explain.ts'
import { freeze } from './freeze.ts'
import type { OutputPart } from './job-runner.ts'
import { KeyedMap } from './keyed-map.ts'
import { builtin, type Lineage, type LineageAction, type LineageFn, type UserFunction } from './lineage.ts'
import type { FunctionRef, Plan } from './plan.ts'
import { foldInOrder, partials, resultPartitions } from './requester.ts'
import { StatCounter, type Stats, type StatSummary } from './stat-counter.ts'

/** The optional last parameter of every action. */
export interface ActionOptions extends AbortOptions {
  /** For job lists and progress. @default the action's name */
  name?: string
}

/** `take` looks at so many times more partitions when those before gave nothing (PySpark's figure). */
const TAKE_GROWTH = 4
/** Else it looks at so many times what the yield so far suggests. */
const TAKE_MARGIN = 1.5

/**
 * The actions: what makes a job run. Each freezes the lineage (captures every function, once), runs it, and folds the
 * partial results in partition order, so the answer does not depend on who was faster.
 * All reject with the job's error: TASK_FAILED with the user's stack, CLOSURE_REFUSED, the signal's reason, …
 */
export abstract class DatasetActions<T> extends Dataset implements AsyncIterable<T> {
  /** All elements, in partition order. They must fit into memory here: else use toLocalIterator. */
  async collect(options: ActionOptions = {}): Promise<T[]> {
    const slices: unknown[][] = []
    const plan = await this.#freeze({ kind: 'collect' }, options)
    for await (const { partition, rows } of this.#partials(plan, 'collect', options)) slices[partition] = rows
    return slices.flat() as T[]
  }

  /** One partition after the other, each asked for when the one before is used up. Leaving the loop cancels the job. */
  async *toLocalIterator(options: ActionOptions = {}): AsyncGenerator<T, void, undefined> {
    const plan = await this.#freeze({ kind: 'collect' }, options)
    const run = { name: 'toLocalIterator', ...options, ordered: true }
    for await (const { rows } of partials(this.environment.runner, plan, run)) yield* rows as T[]
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    return this.toLocalIterator()
  }

  /** Pairs as a Map; of several values of one key (by content) the last wins. */
  async collectAsMap<K, V>(
    this: DatasetActions<Pair<K, V>>,
    options: ActionOptions = {},
  ): Promise<Map<K, V>> {
    const map = new KeyedMap<K, V>()
    for (const [key, value] of await this.collect({ name: 'collectAsMap', ...options })) map.set(key, value)
    return map.toMap()
  }

  async count(options: ActionOptions = {}): Promise<number> {
    let count = 0
    await this.#fold({ kind: 'count' }, 'count', options, partial => (count += partial as number))
    return count
  }

  /** The first `num` elements. Looks at one partition, then at more while they do not suffice: several small jobs. */
  async take(num: number, options: ActionOptions = {}): Promise<T[]> {
    checkCount('take', num)
    const taken: T[] = []
    if (num === 0) return taken
    const plan = await this.#freeze({ kind: 'take', count: num }, options)
    const total = plan.nodes.at(-1)!.partitions
    let looked = 0
    while (taken.length < num && looked < total) {
      const only = upTo(looked, Math.min(looked + partitionsToTry(num, taken.length, looked), total))
      const round: Plan = { ...plan, only, action: { kind: 'take', count: num - taken.length } }
      await foldInOrder(this.#partials(round, 'take', options), only, rows => {
        for (const row of rows) if (taken.length < num) taken.push(row as T)
      })
      looked += only.length
    }
    return taken
  }

  /** @throws EMPTY_RDD */
  async first(options: ActionOptions = {}): Promise<T> {
    const taken = await this.take(1, { name: 'first', ...options })
    if (taken.length === 0) throw empty('first')
    return taken[0]!
  }

  async isEmpty(options: ActionOptions = {}): Promise<boolean> {
    return (await this.take(1, { name: 'isEmpty', ...options })).length === 0
  }

  /** `fn` should be associative; it need not be commutative, as partitions are folded in order. @throws EMPTY_RDD */
  async reduce(fn: (left: T, right: T) => T, options: ActionOptions = {}): Promise<T> {
    return this.#reduce({ kind: 'reduce', fn: this.fn(fn, 'reduce') }, fn, 'reduce', options)
  }

  /** `zero` is copied for each partition and once for the result: it must be neutral. */
  async fold(zero: T, fn: (left: T, right: T) => T, options: ActionOptions = {}): Promise<T> {
    return this.#foldFrom(zero, 'fold', fn, fn, options)
  }

  /** `seqOp` folds elements into a copy of `zero` in each partition, `combOp` the partitions' results into another. */
  async aggregate<U>(
    zero: U,
    seqOp: (accumulated: U, element: T) => U,
    combOp: (left: U, right: U) => U,
    options: ActionOptions = {},
  ): Promise<U> {
    this.fn(combOp, 'aggregate')
    return this.#foldFrom(zero, 'aggregate', seqOp, combOp, options)
  }

  /** 0 of nothing. */
  async sum(this: DatasetActions<number>, options: ActionOptions = {}): Promise<number> {
    let sum = 0
    const action: LineageAction = { kind: 'fold', zero: encodeRows([0]), fn: builtin('add') }
    await this.#fold(action, 'sum', options, partial => (sum += partial as number))
    return sum
  }

  /** Count, sum, mean, extremes, variance and deviation in one pass. */
  async stats(this: DatasetActions<number>, options: ActionOptions = {}): Promise<Stats> {
    const counter = new StatCounter()
    await this.#fold({ kind: 'partition', fn: builtin('statSummary') }, 'stats', options, partial =>
      counter.merge(partial as StatSummary),
    )
    return counter.stats()
  }

  async mean(this: DatasetActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'mean', ...options })).mean
  }

  /** Of the population (divided by the count). */
  async variance(this: DatasetActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'variance', ...options })).variance
  }

  async stdev(this: DatasetActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'stdev', ...options })).stdev
  }

  /** Of a sample (divided by the count − 1). */
  async sampleVariance(this: DatasetActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'sampleVariance', ...options })).sampleVariance
  }

  async sampleStdev(this: DatasetActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'sampleStdev', ...options })).sampleStdev
  }

  /** The first of the least, in the default order of elements or of `key(element)`. @throws EMPTY_RDD */
  async min(key: (element: T) => unknown = identity, options: ActionOptions = {}): Promise<T> {
    return this.#extreme(-1, key, 'min', options)
  }

  /** The first of the greatest. @throws EMPTY_RDD */
  async max(key: (element: T) => unknown = identity, options: ActionOptions = {}): Promise<T> {
    return this.#extreme(1, key, 'max', options)
  }

  /** The `num` least in the default order of elements or of `key(element)`, ascending; ties in partition order. */
  async takeOrdered(
    num: number,
    key: (element: T) => unknown = identity,
    options: ActionOptions = {},
  ): Promise<T[]> {
    return this.#best(num, 1, key, 'takeOrdered', options)
  }

  /** The `num` greatest, descending. */
  async top(num: number, key: (element: T) => unknown = identity, options: ActionOptions = {}): Promise<T[]> {
    return this.#best(num, -1, key, 'top', options)
  }

  /** How often each key occurs (by content), in order of first occurrence. */
  async countByKey<K>(
    this: DatasetActions<Pair<K, unknown>>,
    options: ActionOptions = {},
  ): Promise<Map<K, number>> {
    return this.#occurrences<K>(builtin('countKeys'), 'countByKey', options)
  }

  /** How often each element occurs (by content), in order of first occurrence. */
  async countByValue(options: ActionOptions = {}): Promise<Map<T, number>> {
    return this.#occurrences<T>(builtin('countValues'), 'countByValue', options)
  }

  /** All values of one key. Reads one partition when the partitioner of this RDD is known, else all. */
  async lookup<K, V>(this: DatasetActions<Pair<K, V>>, key: K, options: ActionOptions = {}): Promise<V[]> {
    const matching = builtin('pairKeyEquals', [], [encodeRows([key])])
    const values: Lineage = {
      op: 'steps',
      label: 'lookup',
      marks: { cached: false, keptAs: new Set() },
      parent: this.lineage,
      steps: [
        { op: 'filter', fn: matching },
        { op: 'map', fn: builtin('pairValue') },
      ],
      keepsPartitioner: false,
    }
    const plan = await freeze(values, { kind: 'collect' }, this.environment, options)
    const { partitioner } = plan.nodes.at(-2)!
    if (partitioner !== undefined) {
      const resolve = (ref: FunctionRef) =>
        resolveFunction(ref, closure => reviveClosure(plan.closures[closure]!) as UserFunction, 'lookup')
      plan.only = [partitionFunction(partitioner, resolve)(key)]
    }
    const out: V[] = []
    const results = this.#partials(plan, 'lookup', options)
    await foldInOrder(results, resultPartitions(plan), rows => {
      for (const row of rows) out.push(row as V)
    })
    return out
  }

  /** Calls `fn` with each element, on the peers. What it changes there stays there. */
  async forEach(fn: (element: T) => void, options: ActionOptions = {}): Promise<void> {
    await this.#fold({ kind: 'forEach', fn: this.fn(fn, 'forEach') }, 'forEach', options, () => {})
  }

  async forEachPartition(fn: (elements: Elements<T>) => void, options: ActionOptions = {}): Promise<void> {
    const perPartition = builtin('forPartition', [this.fn(fn, 'forEachPartition')])
    await this.#fold({ kind: 'partition', fn: perPartition }, 'forEachPartition', options, () => {})
  }

  /**
   * Writes `String(element)` and a newline for each element into a mesh directory, one part file per partition; the
   * directory appears whole when the job is done. @throws ALREADY_EXISTS before anything runs
   */
  async saveAsTextFile(path: string, options: ActionOptions = {}): Promise<void> {
    const { files } = this.environment
    await files.checkOutput(path, options)
    const parts: OutputPart[] = []
    using _held = files.holdOutput?.(() => parts)
    await this.#fold({ kind: 'saveText', path }, 'saveAsTextFile', options, part =>
      parts.push(part as OutputPart),
    )
    await files.commitOutput(path, parts, options)
  }

  /** Resolves files where the lineage has any; runs no job. */
  async getNumPartitions(options: AbortOptions = {}): Promise<number> {
    return (await this.#sketch(options)).nodes.at(-1)!.partitions
  }

  /** Stages, operators with the lines that called them, partitions, and why each shuffle is or is not needed. */
  async explain(options: AbortOptions = {}): Promise<string> {
    return explain(await this.#sketch(options))
  }

  /** The lineage, indented by shuffle, as Spark prints it. */
  async toDebugString(options: AbortOptions = {}): Promise<string> {
    return toDebugString(await this.#sketch(options))
  }

  #sketch(options: AbortOptions): Promise<Plan> {
    return freeze(this.lineage, { kind: 'collect' }, this.environment, { ...options, sample: false })
  }

  #freeze(action: LineageAction, options: AbortOptions): Promise<Plan> {
    return freeze(this.lineage, action, this.environment, options)
  }

  #partials(plan: Plan, name: string, options: ActionOptions): ReturnType<typeof partials> {
    return partials(this.environment.runner, plan, { name, ...options, ordered: false })
  }

  /** Each row of the partial results, in partition order. */
  async #fold(
    action: LineageAction,
    name: string,
    options: ActionOptions,
    fold: (partial: unknown) => void,
  ): Promise<void> {
    const plan = await this.#freeze(action, options)
    await foldInOrder(this.#partials(plan, name, options), resultPartitions(plan), rows =>
      rows.forEach(row => fold(row)),
    )
  }

  async #reduce(
    action: LineageAction,
    fn: (left: T, right: T) => T,
    name: string,
    options: ActionOptions,
  ): Promise<T> {
    let result: { value: T } | undefined
    await this.#fold(action, name, options, partial => {
      result = { value: result === undefined ? (partial as T) : fn(result.value, partial as T) }
    })
    if (result === undefined) throw empty(name)
    return result.value
  }

  async #foldFrom<U>(
    zero: U,
    name: string,
    seqOp: (accumulated: U, element: T) => U,
    combOp: (left: U, right: U) => U,
    options: ActionOptions,
  ): Promise<U> {
    const encoded = encodeRows([zero])
    let result = decodeRows<U>(encoded)[0] as U
    const action: LineageAction = { kind: 'fold', zero: encoded, fn: this.fn(seqOp, name) }
    await this.#fold(action, name, options, partial => (result = combOp(result, partial as U)))
    return result
  }

  #extreme(sign: 1 | -1, key: (element: T) => unknown, name: string, options: ActionOptions): Promise<T> {
    const farther = (left: T, right: T): T => (compareValues(key(right), key(left)) * sign > 0 ? right : left)
    return this.#reduce(
      { kind: 'reduce', fn: builtin('extreme', [this.#key(key, name)], [sign]) },
      farther,
      name,
      options,
    )
  }

  async #best(
    num: number,
    sign: 1 | -1,
    key: (element: T) => unknown,
    name: string,
    options: ActionOptions,
  ): Promise<T[]> {
    checkCount(name, num)
    if (num === 0) return []
    const fn = builtin('best', [this.#key(key, name)], [num, sign])
    let best: Pair<unknown, T>[] = []
    await this.#fold({ kind: 'partition', fn }, name, options, partial => {
      best.push(...(partial as Pair<unknown, T>[]))
      best.sort((left, right) => compareValues(left[0], right[0]) * sign)
      best = best.slice(0, num)
    })
    return best.map(([, element]) => element)
  }

  #key(key: (element: T) => unknown, operator: string): LineageFn {
    return key === identity ? builtin('identity') : this.fn(key, operator)
  }

  async #occurrences<K>(fn: LineageFn, name: string, options: ActionOptions): Promise<Map<K, number>> {
    const counts = new KeyedMap<K, number>()
    await this.#fold({ kind: 'partition', fn }, name, options, partial => {
      for (const [key, count] of partial as Pair<K, number>[]) counts.update(key, 0, sum => sum + count)
    })
    return counts.toMap()
  }
}

const identity = (element: unknown): unknown => element

function partitionsToTry(num: number, taken: number, looked: number): number {
  if (looked === 0) return 1
  if (taken === 0) return looked * TAKE_GROWTH
  const suggested = Math.floor((TAKE_MARGIN * num * looked) / taken) - looked
  return Math.min(Math.max(suggested, 1), looked * TAKE_GROWTH)
}

function upTo(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i)
}

function checkCount(operator: string, num: number): void {
  if (!Number.isSafeInteger(num) || num < 0)
    throw invalid(`${operator}(): needs a whole number from 0 on, not ${num}`)
}

function empty(action: string): ShoalError<'EMPTY_RDD'> {
  return new ShoalError(
    'EMPTY_RDD',
    { action },
    `${action}() of an RDD without elements; use isEmpty() or fold()`,
  )
}
