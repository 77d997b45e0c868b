import type { AbortOptions } from '../base/deadline.ts'
import { ShoalError } from '../base/errors.ts'
import { seededRandom, shuffled } from '../base/random.ts'
import { decodeRows, encodeRows } from './codec/index.ts'
import { Dataset, type Elements, invalid, type Pair, type Widen } from './dataset.ts'
import { compareValues } from './engine/ordering.ts'
import { drawPositions, mixedSeed } from './engine/random-draws.ts'
import { explain, toDebugString } from './explain.ts'
import { freeze } from './freeze.ts'
import type { LabelledPlan } from './job-groups.ts'
import { KeyedMap } from './keyed-map.ts'
import type { KeptReport } from './job-runner.ts'
import { builtin, type Lineage, type LineageAction, type LineageFn } from './lineage.ts'
import { steps } from './operators/builders.ts'
import { chosenSeed } from './operators/sampling.ts'
import { checkDepth, foldedPartitions, mergedAsTree, reducedPartitions } from './operators/trees.ts'
import type { Plan } from './plan.ts'
import { foldInOrder, partials, resultPartitions } from './requester.ts'

/** The optional last parameter of every action. */
export interface ActionOptions extends AbortOptions {
  /** For job lists and progress. @default the action's name */
  name?: string
  /** A task that runs longer is ended; one that does so on a second peer too ends the job with TASK_TIMEOUT. @default no limit */
  taskTimeoutMs?: number
  /** To cancel it by, with `cancelJobsWithTag`, beside those set for all. */
  tags?: readonly string[]
}

/** How the pairs of an RDD find their partition. */
export interface Partitioner {
  kind: 'hash' | 'range' | 'custom'
  numPartitions: number
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
    const plan = await this.freeze({ kind: 'collect' }, options)
    for await (const { partition, rows } of this.partials(plan, 'collect', options)) slices[partition] = rows
    return slices.flat() as T[]
  }

  /** One partition after the other, each asked for when the one before is used up. Leaving the loop cancels the job. */
  async *toLocalIterator(options: ActionOptions = {}): AsyncGenerator<T, void, undefined> {
    const plan = await this.freeze({ kind: 'collect' }, options)
    for await (const { rows } of this.partials(plan, 'toLocalIterator', options, true)) yield* rows as T[]
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    return this.toLocalIterator()
  }

  async count(options: ActionOptions = {}): Promise<number> {
    let count = 0
    await this.foldPartials({ kind: 'count' }, 'count', options, partial => (count += partial as number))
    return count
  }

  /** The first `num` elements. Looks at one partition, then at more while they do not suffice: several small jobs. */
  async take(num: number, options: ActionOptions = {}): Promise<T[]> {
    checkCount('take', num)
    const taken: T[] = []
    if (num === 0) return taken
    const plan = await this.freeze({ kind: 'take', count: num }, options)
    const total = plan.nodes.at(-1)!.partitions
    let looked = 0
    while (taken.length < num && looked < total) {
      const only = upTo(looked, Math.min(looked + partitionsToTry(num, taken.length, looked), total))
      const round: LabelledPlan = { ...plan, only, action: { kind: 'take', count: num - taken.length } }
      await foldInOrder(this.partials(round, 'take', options), only, rows => {
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
  async reduce(
    fn: (left: Widen<T>, right: Widen<T>) => Widen<T>,
    options: ActionOptions = {},
  ): Promise<Widen<T>> {
    return this.reducePartials({ kind: 'reduce', fn: this.fn(fn, 'reduce') }, fn, 'reduce', options)
  }

  /** `zero` is copied for each partition and once for the result: it must be neutral. */
  async fold(
    zero: Widen<T>,
    fn: (left: Widen<T>, right: Widen<T>) => Widen<T>,
    options: ActionOptions = {},
  ): Promise<Widen<T>> {
    return this.#foldFrom(zero, 'fold', this.fn(fn, 'fold'), fn, options)
  }

  /** `seqOp` folds elements into a copy of `zero` in each partition, `combOp` the partitions' results into another. */
  async aggregate<U>(
    zero: U,
    seqOp: (accumulated: U, element: T) => U,
    combOp: (left: U, right: U) => U,
    options: ActionOptions = {},
  ): Promise<U> {
    this.fn(combOp, 'aggregate')
    return this.#foldFrom(zero, 'aggregate', this.fn(seqOp, 'aggregate'), combOp, options)
  }

  /**
   * `aggregate` whose partial results are merged on the peers, in about `depth` levels: for many partitions or large
   * results. Neighbours are merged in order, so `combOp` need not be commutative.
   */
  async treeAggregate<U>(
    zero: U,
    seqOp: (accumulated: U, element: T) => U,
    combOp: (left: U, right: U) => U,
    depth = 2,
    options: ActionOptions = {},
  ): Promise<U> {
    const label = 'treeAggregate'
    const rows = foldedPartitions(this.lineage, label, zero, this.fn(seqOp, label))
    const merged = await this.#tree<U>(rows, label, combOp, depth, options)
    return merged === undefined ? (decodeRows<U>(encodeRows([zero]))[0] as U) : merged.value
  }

  /** `reduce` likewise. @throws EMPTY_RDD */
  async treeReduce(
    fn: (left: Widen<T>, right: Widen<T>) => Widen<T>,
    depth = 2,
    options: ActionOptions = {},
  ): Promise<Widen<T>> {
    const label = 'treeReduce'
    const rows = reducedPartitions(this.lineage, label, this.fn(fn, label))
    const merged = await this.#tree<Widen<T>>(rows, label, fn, depth, options)
    if (merged === undefined) throw empty(label)
    return merged.value
  }

  async #tree<U>(
    rows: Lineage,
    label: string,
    merge: (left: U, right: U) => U,
    depth: number,
    options: ActionOptions,
  ): Promise<{ value: U } | undefined> {
    checkDepth(label, depth)
    const partitions = await this.getNumPartitions(options)
    const tree = this.derived<U>(mergedAsTree(rows, label, this.fn(merge, label), partitions, depth))
    let merged: { value: U } | undefined
    await tree.foldPartials({ kind: 'collect' }, label, options, row => {
      merged = { value: merged === undefined ? (row as U) : merge(merged.value, row as U) }
    })
    return merged
  }

  /** Is any element true, or is `fn` of it? Stops at the first. */
  async any(fn: (element: T) => unknown = identity, options: ActionOptions = {}): Promise<boolean> {
    const found = { op: 'filter', fn: this.keyFn(fn, 'any') } as const
    return !(await this.derived(steps(this.lineage, 'any', [found])).isEmpty({ name: 'any', ...options }))
  }

  /** Are all elements true, or is `fn` of each? True of nothing. Stops at the first that is not. */
  async all(fn: (element: T) => unknown = identity, options: ActionOptions = {}): Promise<boolean> {
    const missed = { op: 'filter', fn: builtin('not', [this.keyFn(fn, 'all')]) } as const
    return this.derived(steps(this.lineage, 'all', [missed])).isEmpty({ name: 'all', ...options })
  }

  /**
   * Exactly `num` elements, drawn uniformly, in random order; all, if there are no more. A job counts, a second one
   * reads the partitions that have some of those drawn.
   * @param withReplacement Elements may come several times.
   */
  async takeSample(
    withReplacement: boolean,
    num: number,
    seed?: number,
    options: ActionOptions = {},
  ): Promise<T[]> {
    const name = 'takeSample'
    checkCount(name, num)
    const random = seededRandom(mixedSeed(chosenSeed(name, seed), 0))
    const counts: number[] = []
    await this.foldPartials({ kind: 'count' }, name, options, count => counts.push(count as number))
    const total = counts.reduce((sum, count) => sum + count, 0)
    const drawn = [...drawPositions(random, num, total, withReplacement)].sort(([a], [b]) => a - b)
    if (drawn.length === 0) return []
    let start = 0
    let next = 0
    const wanted = counts.map(count => {
      const places: [place: number, times: number][] = []
      for (; next < drawn.length && drawn[next]![0] < start + count; next++) {
        places.push([drawn[next]![0] - start, drawn[next]![1]])
      }
      start += count
      return places
    })
    const fn = builtin('pickAt', [], [encodeRows(wanted)])
    const plan = await this.freeze({ kind: 'partition', fn }, options)
    const only = wanted.flatMap((places, partition) => (places.length > 0 ? [partition] : []))
    const sample: T[] = []
    await foldInOrder(this.partials({ ...plan, only }, name, options), only, ([picked]) => {
      for (const element of picked as T[]) sample.push(element)
    })
    return shuffled(random, sample)
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

  /** How often each element occurs (by content), in order of first occurrence. */
  async countByValue(options: ActionOptions = {}): Promise<Map<T, number>> {
    return this.occurrences<T>(builtin('countValues'), 'countByValue', options)
  }

  /** Calls `fn` with each element, on the peers. What it changes there stays there. */
  async forEach(fn: (element: T) => void, options: ActionOptions = {}): Promise<void> {
    await this.foldPartials({ kind: 'forEach', fn: this.fn(fn, 'forEach') }, 'forEach', options, () => {})
  }

  /** PySpark's spelling of forEach. */
  foreach(fn: (element: T) => void, options: ActionOptions = {}): Promise<void> {
    return this.forEach(fn, options)
  }

  /** PySpark's spelling of forEachPartition. */
  foreachPartition(fn: (elements: Elements<T>) => void, options: ActionOptions = {}): Promise<void> {
    return this.forEachPartition(fn, options)
  }

  async forEachPartition(fn: (elements: Elements<T>) => void, options: ActionOptions = {}): Promise<void> {
    const perPartition = builtin('forPartition', [this.fn(fn, 'forEachPartition')])
    await this.foldPartials({ kind: 'partition', fn: perPartition }, 'forEachPartition', options, () => {})
  }

  /** Resolves files where the lineage has any; runs no job. */
  async getNumPartitions(options: AbortOptions = {}): Promise<number> {
    return (await this.sketch(options)).nodes.at(-1)!.partitions
  }

  /** How pairs find their partition, where that is known: two RDDs with equal partitioners join without a shuffle. */
  async partitioner(options: AbortOptions = {}): Promise<Partitioner | undefined> {
    const { partitioner } = (await this.sketch(options)).nodes.at(-1)!
    return partitioner && { kind: partitioner.kind, numPartitions: partitioner.partitions }
  }

  /** Stages, operators with the lines that called them, partitions, and why each shuffle is or is not needed. */
  async explain(options: AbortOptions = {}): Promise<string> {
    const plan = await this.sketch(options)
    return explain(plan, await this.#kept(plan, options))
  }

  /** The lineage, indented by shuffle, as Spark prints it. */
  async toDebugString(options: AbortOptions = {}): Promise<string> {
    const plan = await this.sketch(options)
    return toDebugString(plan, await this.#kept(plan, options))
  }

  async #kept({ nodes }: Plan, options: AbortOptions): Promise<Map<string, KeptReport>> {
    const cached = nodes.flatMap(({ cached, fingerprint }) => (cached ? [fingerprint] : []))
    const reports = await this.environment.runner.kept(cached, options)
    return new Map(reports.map(report => [report.fingerprint, report]))
  }

  protected sketch(options: AbortOptions): Promise<Plan> {
    return freeze(this.lineage, { kind: 'collect' }, this.environment, { ...options, sample: false })
  }

  /** Labels are those of now, whatever is set while the plan is made. */
  protected async freeze(action: LineageAction, { tags, ...options }: ActionOptions): Promise<LabelledPlan> {
    const labels = this.environment.runner.labels(tags)
    return { ...(await freeze(this.lineage, action, this.environment, { ...options, labels })), labels }
  }

  protected partials(
    { labels, ...plan }: LabelledPlan,
    name: string,
    { signal, ...options }: ActionOptions,
    ordered = false,
  ): ReturnType<typeof partials> {
    return partials(this.environment.runner, plan, { name: options.name ?? name, signal, labels, ordered })
  }

  /** Each row of the partial results, in partition order. */
  protected async foldPartials(
    action: LineageAction,
    name: string,
    options: ActionOptions,
    fold: (partial: unknown) => void,
  ): Promise<void> {
    const plan = await this.freeze(action, options)
    await foldInOrder(this.partials(plan, name, options), resultPartitions(plan), rows =>
      rows.forEach(row => fold(row)),
    )
  }

  protected async reducePartials<V>(
    action: LineageAction,
    fn: (left: V, right: V) => V,
    name: string,
    options: ActionOptions,
  ): Promise<V> {
    let result: { value: V } | undefined
    await this.foldPartials(action, name, options, partial => {
      result = { value: result === undefined ? (partial as V) : fn(result.value, partial as V) }
    })
    if (result === undefined) throw empty(name)
    return result.value
  }

  async #foldFrom<U>(
    zero: U,
    name: string,
    seqOp: LineageFn,
    combOp: (left: U, right: U) => U,
    options: ActionOptions,
  ): Promise<U> {
    const encoded = encodeRows([zero])
    let result = decodeRows<U>(encoded)[0] as U
    const action: LineageAction = { kind: 'fold', zero: encoded, fn: seqOp }
    await this.foldPartials(action, name, options, partial => (result = combOp(result, partial as U)))
    return result
  }

  #extreme(sign: 1 | -1, key: (element: T) => unknown, name: string, options: ActionOptions): Promise<T> {
    const farther = (left: T, right: T): T => (compareValues(key(right), key(left)) * sign > 0 ? right : left)
    return this.reducePartials(
      { kind: 'reduce', fn: builtin('extreme', [this.keyFn(key, name)], [sign]) },
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
    const fn = builtin('best', [this.keyFn(key, name)], [num, sign])
    let best: Pair<unknown, T>[] = []
    await this.foldPartials({ kind: 'partition', fn }, name, options, partial => {
      best.push(...(partial as Pair<unknown, T>[]))
      best.sort((left, right) => compareValues(left[0], right[0]) * sign)
      best = best.slice(0, num)
    })
    return best.map(([, element]) => element)
  }

  protected keyFn(key: (element: T) => unknown, operator: string): LineageFn {
    return key === identity ? builtin('identity') : this.fn(key, operator)
  }

  protected async occurrences<K>(
    fn: LineageFn,
    name: string,
    options: ActionOptions,
  ): Promise<Map<K, number>> {
    const counts = new KeyedMap<K, number>()
    await this.foldPartials({ kind: 'partition', fn }, name, options, partial => {
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

export function empty(action: string): ShoalError<'EMPTY_RDD'> {
  return new ShoalError(
    'EMPTY_RDD',
    { action },
    `${action}() of an RDD without elements; use isEmpty() or fold()`,
  )
}
