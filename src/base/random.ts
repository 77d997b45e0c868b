/** A source of chance, injected so that every run of a machine can be repeated from its seed. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number
}

export const systemRandom: Random = { next: () => Math.random() }

/**
 * sfc32 by Chris Doty-Humphrey (PractRand), seeded from one 32-bit number.
 * The first 12 outputs are thrown away, as its author advises.
 */
export function seededRandom(seed: number): Random {
  let a = 0
  let b = seed | 0
  let c = 0x9e3779b9 | 0
  let counter = 1
  const next = (): number => {
    const sum = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    return (sum >>> 0) / 0x1_0000_0000
  }
  for (let i = 0; i < 12; i++) next()
  return { next }
}

/** A whole number in [0, bound). */
export function below(random: Random, bound: number): number {
  return Math.floor(random.next() * bound)
}

/** One element, uniformly; undefined of an empty list. */
export function pick<T>(random: Random, items: readonly T[]): T | undefined {
  return items[below(random, items.length)]
}

/** A new array in random order (Fisher–Yates). */
export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const out = [...items]
  for (let i = out.length - 1; i > 0; i--) {
    const j = below(random, i + 1)
    const held = out[i]!
    out[i] = out[j]!
    out[j] = held
  }
  return out
}
