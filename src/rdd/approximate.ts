import { invalid } from './dataset.ts'

/** What a part of the partitions says about the whole: estimates with bounds, and where they come from. */

/** An estimate. With probability `confidence` the true value is in [low, high]. */
export interface BoundedNumber {
  mean: number
  low: number
  high: number
  confidence: number
  /** True when every partition was seen: then all three are the exact value. */
  isFinal: boolean
}

/** How much was seen of a dataset, and how sure the answer shall be. */
export interface Seen {
  partitions: number
  of: number
  confidence: number
}

/** Numbers seen: their count, mean and variance as a sample. */
export interface SeenNumbers {
  count: number
  mean: number
  sampleVariance: number
}

/** Above so many numbers Student's distribution is the normal one, for our purpose. */
const NORMAL_FROM = 100

export function boundedCount(count: number, seen: Seen): BoundedNumber {
  if (seen.partitions === seen.of) return exactly(count, seen)
  if (seen.partitions === 0) return unknown(seen, 0)
  const share = seen.partitions / seen.of
  const mean = (count + 1 - share) / share
  const deviation = Math.sqrt(((count + 1) * (1 - share)) / share ** 2)
  return around(mean, deviation * normalQuantile((1 + seen.confidence) / 2), seen, count)
}

export function boundedMean(numbers: SeenNumbers, seen: Seen): BoundedNumber {
  if (seen.partitions === seen.of) return exactly(numbers.mean, seen)
  if (numbers.count <= 1) return unknown(seen, Number.NEGATIVE_INFINITY, numbers.mean)
  const deviation = Math.sqrt(numbers.sampleVariance / numbers.count)
  return around(numbers.mean, deviation * spread(numbers.count, seen.confidence), seen)
}

export function boundedSum(sum: number, numbers: SeenNumbers, seen: Seen): BoundedNumber {
  if (seen.partitions === seen.of) return exactly(sum, seen)
  if (numbers.count <= 1) return unknown(seen, Number.NEGATIVE_INFINITY, sum)
  const share = seen.partitions / seen.of
  const meanVariance = numbers.sampleVariance / numbers.count
  const count = (numbers.count + 1 - share) / share
  const countVariance = ((numbers.count + 1) * (1 - share)) / share ** 2
  const variance =
    numbers.mean ** 2 * countVariance + count ** 2 * meanVariance + meanVariance * countVariance
  return around(numbers.mean * count, Math.sqrt(variance) * spread(numbers.count, seen.confidence), seen)
}

/** Bits of a place in a sketch whose estimates deviate by `relativeSD` of the true count. */
export function sketchPrecision(operator: string, relativeSD: number): number {
  const precision = Math.max(PRECISION_MIN, Math.ceil(2 * Math.log2(SKETCH_ERROR / relativeSD)))
  if (!(relativeSD > 0 && precision <= PRECISION_MAX)) {
    const least = (SKETCH_ERROR / 2 ** (PRECISION_MAX / 2)).toFixed(4)
    throw invalid(`${operator}(): the relative deviation must be at least ${least}, not ${relativeSD}`)
  }
  return precision
}

/** Deviation of a sketch of one place; 2^precision places divide it by 2^(precision/2). */
const SKETCH_ERROR = 1.054
const PRECISION_MIN = 4
/** 256 KiB a sketch. */
const PRECISION_MAX = 18

export function checkApproximation(operator: string, timeoutMs: number, confidence: number): void {
  if (!(timeoutMs >= 0))
    throw invalid(`${operator}(): the time must be milliseconds from 0 on, not ${timeoutMs}`)
  if (!(confidence >= 0 && confidence < 1)) {
    throw invalid(`${operator}(): the confidence must be from 0 to below 1, not ${confidence}`)
  }
}

function exactly(value: number, { confidence }: Seen): BoundedNumber {
  return { mean: value, low: value, high: value, confidence, isFinal: true }
}

function unknown({ confidence }: Seen, low: number, mean = 0): BoundedNumber {
  return { mean, low, high: Number.POSITIVE_INFINITY, confidence, isFinal: false }
}

function around(
  mean: number,
  distance: number,
  { confidence }: Seen,
  least = Number.NEGATIVE_INFINITY,
): BoundedNumber {
  return { mean, low: Math.max(least, mean - distance), high: mean + distance, confidence, isFinal: false }
}

/** How many deviations to both sides hold `confidence` of what `count` numbers may have come from. */
function spread(count: number, confidence: number): number {
  const quantile = normalQuantile((1 + confidence) / 2)
  if (count > NORMAL_FROM) return quantile
  return studentFromNormal(quantile, count - 1)
}

/** Quantile of the normal distribution (Acklam's rational approximation: nine digits). */
export function normalQuantile(probability: number): number {
  if (probability <= 0) return Number.NEGATIVE_INFINITY
  if (probability >= 1) return Number.POSITIVE_INFINITY
  if (probability > 0.5) return -normalQuantile(1 - probability)
  if (probability < 0.02425) {
    const root = Math.sqrt(-2 * Math.log(probability))
    return polynomial(TAIL_ABOVE, root) / (polynomial(TAIL_BELOW, root) * root + 1)
  }
  const distance = probability - 0.5
  const square = distance ** 2
  return (polynomial(CENTRE_ABOVE, square) * distance) / (polynomial(CENTRE_BELOW, square) * square + 1)
}

const CENTRE_ABOVE = [
  -39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716,
  2.506628277459239,
]
const CENTRE_BELOW = [
  -54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572,
]
const TAIL_ABOVE = [
  -0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968,
  2.938163982698783,
]
const TAIL_BELOW = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416]

/** Highest power first. */
function polynomial(factors: readonly number[], x: number): number {
  return factors.reduce((sum, factor) => sum * x + factor, 0)
}

/** Student's quantile from the normal one: exact for 1 and 2 degrees of freedom, else Cornish and Fisher's series. */
function studentFromNormal(z: number, freedom: number): number {
  const p = normalShare(z)
  if (freedom === 1) return Math.tan(Math.PI * (p - 0.5))
  if (freedom === 2) return (2 * p - 1) / Math.sqrt(2 * p * (1 - p))
  const [z3, z5, z7] = [z ** 3, z ** 5, z ** 7]
  return (
    z +
    (z3 + z) / (4 * freedom) +
    (5 * z5 + 16 * z3 + 3 * z) / (96 * freedom ** 2) +
    (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * freedom ** 3)
  )
}

/** Share of the normal distribution below z (Abramowitz and Stegun 7.1.26: seven digits). */
function normalShare(z: number): number {
  const x = Math.abs(z) / Math.SQRT2
  const t = 1 / (1 + 0.3275911 * x)
  const tail =
    polynomial([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0], t) * Math.exp(-x * x)
  return z >= 0 ? 1 - tail / 2 : tail / 2
}
