import { encodeRows } from './codec/index.ts'
import { invalid } from './dataset.ts'
import { empty, type ActionOptions } from './dataset-actions.ts'
import { DatasetSinks } from './dataset-sinks.ts'
import { builtin, type LineageAction } from './lineage.ts'
import { StatCounter, type Stats, type StatSummary } from './stat-counter.ts'

/** Actions on numbers: they exist where the elements are numbers. */
export abstract class NumericActions<T> extends DatasetSinks<T> {
  /** 0 of nothing. */
  async sum(this: NumericActions<number>, options: ActionOptions = {}): Promise<number> {
    let sum = 0
    const action: LineageAction = { kind: 'fold', zero: encodeRows([0]), fn: builtin('add') }
    await this.foldPartials(action, 'sum', options, partial => (sum += partial as number))
    return sum
  }

  /** Count, sum, mean, extremes, variance and deviation in one pass. */
  async stats(this: NumericActions<number>, options: ActionOptions = {}): Promise<Stats> {
    const counter = new StatCounter()
    await this.foldPartials({ kind: 'partition', fn: builtin('statSummary') }, 'stats', options, partial =>
      counter.merge(partial as StatSummary),
    )
    return counter.stats()
  }

  async mean(this: NumericActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'mean', ...options })).mean
  }

  /** Of the population (divided by the count). */
  async variance(this: NumericActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'variance', ...options })).variance
  }

  async stdev(this: NumericActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'stdev', ...options })).stdev
  }

  /** Of a sample (divided by the count − 1). */
  async sampleVariance(this: NumericActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'sampleVariance', ...options })).sampleVariance
  }

  async sampleStdev(this: NumericActions<number>, options: ActionOptions = {}): Promise<number> {
    return (await this.stats({ name: 'sampleStdev', ...options })).sampleStdev
  }

  /**
   * How many numbers are in each bucket: [bounds, counts]. A bucket has its lower bound and not its upper one, but for
   * the last, which has both. NaN and numbers out of the bounds are not counted.
   * @param buckets Ascending bounds, or how many even buckets from the least to the greatest: a job finds those first.
   * @throws EMPTY_RDD for a number of buckets of nothing
   */
  async histogram(
    this: NumericActions<number>,
    buckets: number | readonly number[],
    options: ActionOptions = {},
  ): Promise<[bounds: number[], counts: number[]]> {
    const named = { name: 'histogram', ...options }
    const bounds = typeof buckets === 'number' ? await this.#evenBounds(buckets, named) : [...buckets]
    if (bounds.length < 2 || bounds.some((bound, i) => i > 0 && !(bound > bounds[i - 1]!))) {
      // Of one value over and over, one bucket without width is all there is.
      if (!(typeof buckets === 'number' && bounds.length === 2)) {
        throw invalid(`histogram() needs two or more ascending bounds, not ${bounds.join(', ')}`)
      }
    }
    const counts = bounds.slice(1).map(() => 0)
    const action: LineageAction = { kind: 'partition', fn: builtin('histogram', [], [bounds]) }
    await this.foldPartials(action, 'histogram', named, partial => {
      for (const [i, count] of (partial as number[]).entries()) counts[i]! += count
    })
    return [bounds, counts]
  }

  async #evenBounds(
    this: NumericActions<number>,
    buckets: number,
    options: ActionOptions,
  ): Promise<number[]> {
    if (!Number.isSafeInteger(buckets) || buckets < 1) {
      throw invalid(`histogram() needs a whole number of buckets from 1 on, not ${buckets}`)
    }
    const { count, min, max } = await this.stats(options)
    if (count === 0) throw empty('histogram')
    if (!Number.isFinite(min) || !Number.isFinite(max)) {
      throw invalid('histogram() of infinite numbers or NaN needs bounds, not a number of buckets')
    }
    if (min === max) return [min, max]
    const width = (max - min) / buckets
    return Array.from({ length: buckets + 1 }, (_, i) => (i === buckets ? max : min + i * width))
  }
}
