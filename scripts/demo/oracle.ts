import { parse } from 'csv-parse/sync'

/**
 * The answers once more, by one process and plain loops: nothing here is Shoal's, so that both can only agree by being
 * right.
 */

export function oddSquares(last: number): number[] {
  const squares: number[] = []
  for (let n = 1; n <= last; n++) if ((n * n) % 2 === 1) squares.push(n * n)
  return squares
}

export function sumTo(last: number): number {
  let sum = 0
  for (let n = 1; n <= last; n++) sum += n
  return sum
}

export function greatest(numbers: readonly number[]): number {
  let best = -Infinity
  for (const number of numbers) if (number > best) best = number
  return best
}

export function meanTo(last: number): number {
  return sumTo(last) / last
}

const LOWER_A = 0x61
const LOWER_Z = 0x7a
const APOSTROPHE = 0x27

/** How often each word occurs: runs of the letters a–z and apostrophes, in lower case. */
export function countWords(text: string): Map<string, number> {
  const counts = new Map<string, number>()
  const lower = text.toLowerCase()
  let start = -1
  for (let i = 0; i <= lower.length; i++) {
    const unit = i < lower.length ? lower.charCodeAt(i) : 0
    if ((unit >= LOWER_A && unit <= LOWER_Z) || unit === APOSTROPHE) {
      if (start === -1) start = i
    } else if (start !== -1) {
      const word = lower.slice(start, i)
      counts.set(word, (counts.get(word) ?? 0) + 1)
      start = -1
    }
  }
  return counts
}

/** Most frequent first; of equally frequent words the first of the alphabet. */
export function mostFrequent(counts: ReadonlyMap<string, number>, count: number): [string, number][] {
  const sorted = [...counts].sort(([word, n], [other, m]) => m - n || (word < other ? -1 : 1))
  return sorted.slice(0, count)
}

interface Flight {
  origin: string
  delay: number
}

/** [code, [mean delay, "name, city"]] of the airports with at least so many departures, the latest first. */
export function meanDelays(flightsJson: string, airportsCsv: string, flightsMin: number): DelayRow[] {
  const names = new Map<string, string>()
  const airports = parse<{ iata: string; name: string; city: string }>(airportsCsv, { columns: true })
  for (const { iata, name, city } of airports) names.set(iata, `${name}, ${city}`)
  const totals = new Map<string, { delay: number; flights: number }>()
  for (const { origin, delay } of JSON.parse(flightsJson) as Flight[]) {
    const total = totals.get(origin) ?? { delay: 0, flights: 0 }
    total.delay += delay
    total.flights += 1
    totals.set(origin, total)
  }
  const rows: DelayRow[] = []
  for (const [origin, { delay, flights }] of totals) {
    const name = names.get(origin)
    if (flights >= flightsMin && name !== undefined) rows.push([origin, [delay / flights, name]])
  }
  return rows.sort(([a, [mean]], [b, [other]]) => other - mean || (a < b ? -1 : 1))
}

export type DelayRow = readonly [code: string, readonly [mean: number, name: string]]
