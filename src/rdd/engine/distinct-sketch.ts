import { wideHash } from './wide-hash.ts'

/**
 * How many different values there are, about, in 2^precision bytes: HyperLogLog with 64-bit hashes as in HyperLogLog++
 * (Heule and others, 2013), and in place of its tables of measured biases the estimator of Ertl (2017), which is
 * unbiased from none to the end of the range. Sketches of parts merge into that of the whole.
 */
export type DistinctSketch = Uint8Array

export function newSketch(precision: number): DistinctSketch {
  return new Uint8Array(2 ** precision)
}

export function addToSketch(sketch: DistinctSketch, precision: number, value: unknown): void {
  const { high, low } = wideHash(value)
  const place = high >>> (32 - precision)
  const leading = Math.clz32(high << precision)
  const inHigh = 32 - precision
  const rank = (leading < inHigh ? leading : inHigh + Math.clz32(low)) + 1
  if (sketch[place]! < rank) sketch[place] = rank
}

/** Into the left one. */
export function mergeSketches(left: DistinctSketch, right: DistinctSketch): DistinctSketch {
  for (let i = 0; i < left.length; i++) if (left[i]! < right[i]!) left[i] = right[i]!
  return left
}

export function estimateDistinct(sketch: DistinctSketch): number {
  const size = sketch.length
  const longest = 64 - Math.log2(size)
  const counts = Array.from({ length: longest + 2 }, () => 0)
  for (const rank of sketch) counts[rank]!++
  let sum = size * tau(1 - counts[longest + 1]! / size)
  for (let rank = longest; rank >= 1; rank--) sum = (sum + counts[rank]!) / 2
  sum += size * sigma(counts[0]! / size)
  return Math.round(size ** 2 / (2 * Math.LN2 * sum))
}

function sigma(share: number): number {
  if (share === 1) return Number.POSITIVE_INFINITY
  let sum = share
  for (let power = share ** 2, weight = 1, last = Number.NaN; sum !== last; power **= 2, weight *= 2) {
    last = sum
    sum += power * weight
  }
  return sum
}

function tau(share: number): number {
  if (share === 0 || share === 1) return 0
  let sum = 1 - share
  for (let root = Math.sqrt(share), weight = 0.5, last = Number.NaN; sum !== last; weight /= 2) {
    last = sum
    sum -= (1 - root) ** 2 * weight
    root = Math.sqrt(root)
  }
  return sum / 3
}
