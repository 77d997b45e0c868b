import { below, type Random } from '../../base/random.ts'
import { hashNumber, tableMix } from './hashing.ts'

/** Random numbers for samples: each place has its own sequence, so that samples do not depend on who draws them. */

/** A seed of a place (a partition, a key) in something with a seed of its own. */
export function mixedSeed(seed: number, place: number): number {
  return tableMix(Math.imul(tableMix(hashNumber(seed)) ^ Math.imul(place + 1, 0x9e3779b1), 0x85ebca6b))
}

/** Above it, e^-mean is taken in pieces: it would lose its digits, then become 0. */
const POISSON_PIECE = 32

/** How often an element occurs that is expected `mean` times (Knuth's product of uniforms). */
export function poissonDraw(random: Random, mean: number): number {
  let count = 0
  for (let rest = mean; rest > 0; rest -= POISSON_PIECE) {
    const limit = Math.exp(-Math.min(rest, POISSON_PIECE))
    for (let product = random.next(); product > limit; product *= random.next()) count++
  }
  return count
}

/** `count` of the places in [0, total), uniformly, and how often each: at most once without replacement (Floyd's way). */
export function drawPositions(
  random: Random,
  count: number,
  total: number,
  withReplacement: boolean,
): Map<number, number> {
  const drawn = new Map<number, number>()
  if (total === 0) return drawn
  if (withReplacement) {
    for (let i = 0; i < count; i++) {
      const place = below(random, total)
      drawn.set(place, (drawn.get(place) ?? 0) + 1)
    }
    return drawn
  }
  for (let last = Math.max(0, total - count); last < total; last++) {
    const place = below(random, last + 1)
    drawn.set(drawn.has(place) ? last : place, 1)
  }
  return drawn
}
