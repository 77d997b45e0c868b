import { inspect } from 'node:util'
import { seededRandom } from '../../base/random.ts'
import { decodeRows } from '../codec/index.ts'
import { KeyedMap } from '../keyed-map.ts'
import { hashKey } from './hashing.ts'
import { drawPositions, mixedSeed, poissonDraw } from './random-draws.ts'
import type { BuiltinMaker } from './shared-builtins.ts'

type Elements = Iterable<unknown>
type Pair = readonly [unknown, unknown]

/** Builtins of samples: `fn(iterator, partitionIndex)` over a whole partition. */
export const SAMPLING_BUILTINS: Record<string, BuiltinMaker> = {
  /** Elements whose draw is in [low, high). */
  bernoulli: (low: number, high: number, seed: number) =>
    function* (elements: Elements, partition: number) {
      const random = seededRandom(mixedSeed(seed, partition))
      for (const element of elements) {
        const draw = random.next()
        if (draw >= low && draw < high) yield element
      }
    },
  poisson: (mean: number, seed: number) =>
    function* (elements: Elements, partition: number) {
      const random = seededRandom(mixedSeed(seed, partition))
      for (const element of elements) {
        for (let times = poissonDraw(random, mean); times > 0; times--) yield element
      }
    },
  /** @param encoded Rows [key, fraction]. */
  sampleByKey: (withReplacement: boolean, encoded: Uint8Array, seed: number) => {
    const fractions = new KeyedMap<unknown, number>()
    for (const [key, fraction] of decodeRows<[unknown, number]>(encoded)) fractions.set(key, fraction)
    return function* (pairs: Iterable<Pair>, partition: number) {
      const random = seededRandom(mixedSeed(seed, partition))
      for (const pair of pairs) {
        const fraction = fractions.get(pair[0])
        if (fraction === undefined) throw noFraction(pair[0])
        const times = withReplacement ? poissonDraw(random, fraction) : Number(random.next() < fraction)
        for (let i = 0; i < times; i++) yield pair
      }
    }
  },
  /** @param encoded A row for each partition: [key, pairs that it has, how many of them are taken][]. */
  sampleByQuota: (withReplacement: boolean, encoded: Uint8Array, seed: number) => {
    const quotas = decodeRows<[unknown, number, number][]>(encoded)
    return function* (pairs: Iterable<Pair>, partition: number) {
      const taken = new KeyedMap<unknown, { positions: Map<number, number>; next: number }>()
      for (const [key, total, count] of quotas[partition] ?? []) {
        const random = seededRandom(mixedSeed(mixedSeed(seed, partition), hashKey(key)))
        taken.set(key, { positions: drawPositions(random, count, total, withReplacement), next: 0 })
      }
      for (const pair of pairs) {
        const key = taken.get(pair[0])
        if (key === undefined) continue
        for (let times = key.positions.get(key.next) ?? 0; times > 0; times--) yield pair
        key.next++
      }
    }
  },
  /** takeSample: the elements at these places of each partition. @param encoded A row for each: [place, times][], ascending. */
  pickAt: (encoded: Uint8Array) => {
    const wanted = decodeRows<[number, number][]>(encoded)
    return (elements: Elements, partition: number) => {
      const places = wanted[partition] ?? []
      const picked: unknown[] = []
      let next = 0
      let place = 0
      for (const element of elements) {
        if (next === places.length) break
        if (places[next]![0] === place++) {
          for (let times = places[next]![1]; times > 0; times--) picked.push(element)
          next++
        }
      }
      return picked
    }
  },
}

function noFraction(key: unknown): RangeError {
  return new RangeError(`sampleByKey() has no fraction for the key ${inspect(key)}`)
}
