import { encodeRows } from './codec/index.ts'
import { compareValues } from './engine/ordering.ts'
import type { JobRunner, RunOptions } from './job-runner.ts'
import type { Action, Plan } from './plan.ts'
import { partials } from './requester.ts'

/**
 * Bounds that cut sorted keys into even partitions, found by a small job that samples the parent (Spark's
 * RangePartitioner). The sample is a fixed function of the data, so the same lineage is always cut the same way.
 */

/** Sampled keys per output partition, in all: Spark's figure; 20 keep the largest partition within about 1.5 times the mean. */
const SAMPLE_PER_PARTITION = 20
/** Inputs differ in size; each gives so many times its even share, and counts by its size. */
const OVERSAMPLING = 3
/** Keys sampled at most, for any number of partitions: they are sorted by the requester. */
const SAMPLE_MAX = 1_000_000

/** What one partition reports: how many pairs it has, and keys of some of them. */
export interface KeySample {
  count: number
  keys: unknown[]
}

/**
 * @param seal Makes a plan of the parent with an action.
 * @returns Encoded rows, ascending, distinct, at most partitions − 1.
 */
export async function sampleBounds(
  seal: (action: Action) => Plan,
  { partitions, inputs }: { partitions: number; inputs: number },
  runner: JobRunner,
  options: Omit<RunOptions, 'ordered'>,
): Promise<Uint8Array> {
  if (partitions <= 1 || inputs === 0) return encodeRows([])
  const wanted = Math.min(SAMPLE_PER_PARTITION * partitions, SAMPLE_MAX)
  const size = Math.ceil((OVERSAMPLING * wanted) / inputs)
  const plan = seal({ kind: 'partition', fn: { kind: 'builtin', name: 'sampleKeys', args: [size] } })
  const samples: KeySample[] = []
  for await (const { partition, rows } of partials(runner, plan, { ...options, ordered: false })) {
    samples[partition] = rows[0] as KeySample
  }
  return encodeRows(bounds(samples, partitions))
}

/** Cuts the sampled keys into `partitions` runs of equal weight; a key stands for count ÷ sampled pairs of its input. */
export function bounds(samples: readonly KeySample[], partitions: number): unknown[] {
  const candidates = samples.flatMap(({ count, keys }) =>
    keys.map(key => ({ key, weight: count / keys.length })),
  )
  candidates.sort((left, right) => compareValues(left.key, right.key))
  const step = candidates.reduce((sum, { weight }) => sum + weight, 0) / partitions
  const out: unknown[] = []
  let passed = 0
  let target = step
  for (const { key, weight } of candidates) {
    if (out.length === partitions - 1) break
    passed += weight
    if (passed < target || (out.length > 0 && compareValues(key, out.at(-1)) <= 0)) continue
    out.push(key)
    target += step
  }
  return out
}
