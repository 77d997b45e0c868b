/** What stats() found out about the numbers of a dataset. */
export interface Stats {
  count: number
  sum: number
  mean: number
  min: number
  max: number
  /** Of the population; NaN of nothing, like the other three. */
  variance: number
  stdev: number
  /** Of a sample, divided by count − 1; NaN below two numbers. */
  sampleVariance: number
  sampleStdev: number
}

/** Count, mean, sum of squared deviations, least, greatest: what travels from a partition. */
export type StatSummary = readonly [count: number, mean: number, m2: number, min: number, max: number]

/** Running statistics in one pass without cancellation: Welford's update, and the merge of Chan, Golub and LeVeque. */
export class StatCounter {
  #count = 0
  #mean = 0
  #m2 = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  add(value: number): void {
    this.#count++
    const delta = value - this.#mean
    this.#mean += delta / this.#count
    this.#m2 += delta * (value - this.#mean)
    this.#min = Math.min(this.#min, value)
    this.#max = Math.max(this.#max, value)
  }

  merge([count, mean, m2, min, max]: StatSummary): void {
    if (count === 0) return
    const total = this.#count + count
    const delta = mean - this.#mean
    this.#m2 += m2 + (delta * delta * this.#count * count) / total
    // Exact where one side is all there is; else weighted, which neither overflows nor cancels.
    this.#mean = this.#count === 0 ? mean : this.#mean + (delta * count) / total
    this.#count = total
    this.#min = Math.min(this.#min, min)
    this.#max = Math.max(this.#max, max)
  }

  summary(): StatSummary {
    return [this.#count, this.#mean, this.#m2, this.#min, this.#max]
  }

  /** Of nothing: mean and sum 0, min ∞, max −∞, the rest NaN, as in PySpark. */
  stats(): Stats {
    const variance = this.#count === 0 ? Number.NaN : this.#m2 / this.#count
    const sampleVariance = this.#count <= 1 ? Number.NaN : this.#m2 / (this.#count - 1)
    return {
      count: this.#count,
      sum: this.#mean * this.#count,
      mean: this.#mean,
      min: this.#min,
      max: this.#max,
      variance,
      stdev: Math.sqrt(variance),
      sampleVariance,
      sampleStdev: Math.sqrt(sampleVariance),
    }
  }
}
