import {
  boundedCount,
  type BoundedNumber,
  boundedMean,
  boundedSum,
  checkApproximation,
  type Seen,
  sketchPrecision,
} from './approximate.ts'
import type { Pair } from './dataset.ts'
import type { ActionOptions } from './dataset-actions.ts'
import { type DistinctSketch, estimateDistinct, mergeSketches, newSketch } from './engine/distinct-sketch.ts'
import { KeyedMap } from './keyed-map.ts'
import { builtin, type LineageAction } from './lineage.ts'
import { PairActions } from './pair-actions.ts'
import { resultPartitions } from './requester.ts'
import { StatCounter, type StatSummary } from './stat-counter.ts'

/**
 * Answers that need not be exact: from what a part of the partitions came to within `timeoutMs`, extrapolated to the
 * whole with bounds that hold it with probability `confidence`; and distinct counts from sketches. What is not
 * finished in time is cancelled.
 */
export abstract class ApproxActions<T> extends PairActions<T> {
  async countApprox(
    timeoutMs: number,
    confidence = 0.95,
    options: ActionOptions = {},
  ): Promise<BoundedNumber> {
    const request = { name: 'countApprox', timeoutMs, confidence, options }
    const { rows, seen } = await this.#within({ kind: 'count' }, request)
    return boundedCount(total(rows as number[]), seen)
  }

  async sumApprox(
    this: ApproxActions<number>,
    timeoutMs: number,
    confidence = 0.95,
    options: ActionOptions = {},
  ): Promise<BoundedNumber> {
    const request = { name: 'sumApprox', timeoutMs, confidence, options }
    const { rows, seen } = await this.#within({ kind: 'partition', fn: builtin('sumSummary') }, request)
    const summaries = rows as [sum: number, StatSummary][]
    return boundedSum(total(summaries.map(([sum]) => sum)), merged(summaries.map(([, each]) => each)), seen)
  }

  async meanApprox(
    this: ApproxActions<number>,
    timeoutMs: number,
    confidence = 0.95,
    options: ActionOptions = {},
  ): Promise<BoundedNumber> {
    const request = { name: 'meanApprox', timeoutMs, confidence, options }
    const { rows, seen } = await this.#within({ kind: 'partition', fn: builtin('statSummary') }, request)
    return boundedMean(merged(rows as StatSummary[]), seen)
  }

  /** How often each element occurs, of those that were seen in time. */
  async countByValueApprox(
    timeoutMs: number,
    confidence = 0.95,
    options: ActionOptions = {},
  ): Promise<Map<T, BoundedNumber>> {
    return this.#countsWithin('countValues', { name: 'countByValueApprox', timeoutMs, confidence, options })
  }

  async countByKeyApprox<K>(
    this: ApproxActions<Pair<K, unknown>>,
    timeoutMs: number,
    confidence = 0.95,
    options: ActionOptions = {},
  ): Promise<Map<K, BoundedNumber>> {
    return this.#countsWithin('countKeys', { name: 'countByKeyApprox', timeoutMs, confidence, options })
  }

  /**
   * About how many different elements (by content) there are, from 2^p bytes a partition.
   * @param relativeSD Standard deviation of the estimate as a share of the true count, from 0.0021 on.
   */
  async countApproxDistinct(relativeSD = 0.05, options: ActionOptions = {}): Promise<number> {
    const precision = sketchPrecision('countApproxDistinct', relativeSD)
    const all = newSketch(precision)
    const action: LineageAction = { kind: 'partition', fn: builtin('sketchAll', [], [precision]) }
    await this.foldPartials(action, 'countApproxDistinct', options, sketch =>
      mergeSketches(all, sketch as DistinctSketch),
    )
    return estimateDistinct(all)
  }

  async #countsWithin<K>(counting: string, request: Request): Promise<Map<K, BoundedNumber>> {
    const { rows, seen } = await this.#within({ kind: 'partition', fn: builtin(counting) }, request)
    const counts = new KeyedMap<K, number>()
    for (const [key, count] of (rows as [K, number][][]).flat()) counts.update(key, 0, sum => sum + count)
    return new Map(counts.entries().map(([key, count]) => [key, boundedCount(count, seen)]))
  }

  /** The rows, one a partition, that came in time, in partition order. */
  async #within(
    action: LineageAction,
    { name, timeoutMs, confidence, options }: Request,
  ): Promise<{ rows: unknown[]; seen: Seen }> {
    checkApproximation(name, timeoutMs, confidence)
    const { signal } = options
    const timeUp = AbortSignal.timeout(Math.min(timeoutMs, TIMEOUT_MAX_MS))
    const stop = signal === undefined ? timeUp : AbortSignal.any([signal, timeUp])
    const rows: { partition: number; row: unknown }[] = []
    let of = Number.POSITIVE_INFINITY
    try {
      const plan = await this.freeze(action, { ...options, signal: stop })
      of = resultPartitions(plan).length
      for await (const { partition, rows: some } of this.partials(plan, name, { ...options, signal: stop })) {
        rows.push({ partition, row: some[0] })
      }
    } catch (error) {
      signal?.throwIfAborted()
      if (!timeUp.aborted) throw error
    }
    rows.sort((left, right) => left.partition - right.partition)
    return { rows: rows.map(({ row }) => row), seen: { partitions: rows.length, of, confidence } }
  }
}

interface Request {
  name: string
  timeoutMs: number
  confidence: number
  options: ActionOptions
}

/** The longest time that timers know. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1

function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0)
}

function merged(summaries: readonly StatSummary[]): { count: number; mean: number; sampleVariance: number } {
  const counter = new StatCounter()
  for (const summary of summaries) counter.merge(summary)
  return counter.stats()
}
