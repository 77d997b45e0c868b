import { inspect } from 'node:util'
import { seededRandom, systemRandom } from '../../base/random.ts'
import { encodeRows } from '../codec/index.ts'
import { invalid } from '../dataset.ts'
import { drawPositions, mixedSeed } from '../engine/random-draws.ts'
import { hashKey } from '../engine/hashing.ts'
import { KeyedMap } from '../keyed-map.ts'
import { builtin, type Lineage } from '../lineage.ts'
import { deferred, steps } from './builders.ts'

/**
 * Random subsets. What is drawn depends on the seed, the number of the partition and the place in it alone: the same
 * on every peer, in every attempt, with every number of peers.
 */

const SEEDS = 2 ** 32

/** Chosen when the operator is called, so that all actions on the RDD see the same sample. */
export function chosenSeed(operator: string, seed: number | undefined): number {
  if (seed === undefined) return Math.floor(systemRandom.next() * SEEDS)
  if (!Number.isFinite(seed)) throw invalid(`${operator}(): the seed must be a number, not ${seed}`)
  return seed
}

export function sampled(
  parent: Lineage,
  withReplacement: boolean,
  fraction: number,
  seed: number | undefined,
): Lineage {
  checkFraction('sample', fraction, withReplacement)
  const fixed = chosenSeed('sample', seed)
  const fn = withReplacement
    ? builtin('poisson', [], [fraction, fixed])
    : builtin('bernoulli', [], [0, fraction, fixed])
  return steps(parent, 'sample', [{ op: 'mapPartitions', fn }], true)
}

/** Every element falls into exactly one of the parts, as all draw the same number for it. */
export function split(parent: Lineage, weights: readonly number[], seed: number | undefined): Lineage[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  if (!weights.every(weight => weight >= 0 && Number.isFinite(weight)) || !(total > 0)) {
    throw invalid(`randomSplit() needs weights of 0 or more, not all 0; not ${weights.join(', ')}`)
  }
  const fixed = chosenSeed('randomSplit', seed)
  let weight = 0
  return weights.map((share, i) => {
    const low = weight / total
    weight += share
    const high = i === weights.length - 1 ? 1 : weight / total
    const fn = builtin('bernoulli', [], [low, high, fixed])
    return steps(parent, 'randomSplit', [{ op: 'mapPartitions', fn }], true)
  })
}

export type Fractions<K> = ReadonlyMap<K, number> | Readonly<Record<string, number>>

export function sampledByKey(
  parent: Lineage,
  withReplacement: boolean,
  fractions: Fractions<unknown>,
  seed: number | undefined,
): Lineage {
  const label = 'sampleByKey'
  const shares = entriesOf(label, fractions, withReplacement)
  const fn = builtin('sampleByKey', [], [withReplacement, encodeRows(shares), chosenSeed(label, seed)])
  return steps(parent, label, [{ op: 'mapPartitions', fn }], true)
}

/**
 * Exactly ceil(fraction · count) pairs of each key: a job counts the keys of each partition, then it is drawn which
 * of a key's pairs, by their number, are taken; each partition draws its own share of them.
 */
export function sampledByKeyExactly(
  parent: Lineage,
  withReplacement: boolean,
  fractions: Fractions<unknown>,
  seed: number | undefined,
): Lineage {
  const label = 'sampleByKeyExact'
  const shares = new KeyedMap<unknown, number>()
  for (const [key, share] of entriesOf(label, fractions, withReplacement)) shares.set(key, share)
  const fixed = chosenSeed(label, seed)
  return deferred([parent], label, async probe => {
    const counted = await probe.run(parent, { kind: 'partition', fn: builtin('countKeys') }, 'counting')
    const perPartition = counted.map(([row]) => (row ?? []) as [unknown, number][])
    const totals = new KeyedMap<unknown, number>()
    for (const [key, count] of perPartition.flat()) totals.update(key, 0, sum => sum + count)
    const draws = new KeyedMap<unknown, KeyDraws>()
    for (const [key, total] of totals.entries()) {
      const share = shares.get(key)
      if (share === undefined) throw invalid(`${label}() has no fraction for the key ${inspect(key)}`)
      const random = seededRandom(mixedSeed(fixed, hashKey(key)))
      const places = drawPositions(random, Math.ceil(share * total), total, withReplacement)
      draws.set(key, { places: [...places].sort(([a], [b]) => a - b), next: 0, passed: 0 })
    }
    const quotas = perPartition.map(keys =>
      keys.map(([key, count]) => [key, count, takenOf(draws.get(key)!, count)]),
    )
    const fn = builtin('sampleByQuota', [], [withReplacement, encodeRows(quotas), fixed])
    return steps(parent, label, [{ op: 'mapPartitions', fn }], true)
  })
}

/** What is drawn of one key: places among all its pairs, ascending, and how often each. */
interface KeyDraws {
  places: readonly (readonly [place: number, times: number])[]
  next: number
  /** Pairs of the partitions looked at so far. */
  passed: number
}

/** How many of the draws fall into the next partition, which has `count` pairs of the key. */
function takenOf(draws: KeyDraws, count: number): number {
  draws.passed += count
  let taken = 0
  for (; draws.next < draws.places.length; draws.next++) {
    const [place, times] = draws.places[draws.next]!
    if (place >= draws.passed) break
    taken += times
  }
  return taken
}

function entriesOf(
  operator: string,
  fractions: Fractions<unknown>,
  withReplacement: boolean,
): (readonly [unknown, number])[] {
  const entries = fractions instanceof Map ? [...fractions] : Object.entries(fractions)
  for (const [, fraction] of entries) checkFraction(operator, fraction as number, withReplacement)
  return entries as (readonly [unknown, number])[]
}

function checkFraction(operator: string, fraction: number, withReplacement: boolean): void {
  const most = withReplacement ? Number.MAX_VALUE : 1
  if (!(fraction >= 0 && fraction <= most)) {
    const range = withReplacement ? '0 or more' : 'between 0 and 1'
    throw invalid(
      `${operator}(): a fraction must be ${range}${withReplacement ? '' : ' without replacement'}, not ${fraction}`,
    )
  }
}
