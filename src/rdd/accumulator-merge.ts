/**
 * Takes in the shares of one stage's tasks: each partition's once, in partition order as far as all before it have come,
 * so that lists and sums of fractions come out the same however results arrive.
 */
export class AccumulatorMerge {
  readonly #merge: (updates: Uint8Array) => void
  /** Partitions of the stage, ascending. */
  readonly #expected: readonly number[] | undefined
  /** How many of them have been merged, or had nothing. */
  #next = 0
  /** Those that came before their turn; undefined: a task without a share. */
  readonly #early = new Map<number, Uint8Array | undefined>()
  /** Merged out of turn, when a job ended. */
  readonly #done = new Set<number>()

  /** @param expected Partitions of the stage, ascending. @default 0, 1, 2, … */
  constructor(merge: (updates: Uint8Array) => void, expected?: readonly number[]) {
    this.#merge = merge
    this.#expected = expected
  }

  take(partition: number, updates: Uint8Array | undefined): void {
    if (this.#isMerged(partition) || this.#early.has(partition)) return
    this.#early.set(partition, updates)
    for (let due = this.#due(); due !== undefined; due = this.#due()) {
      if (!this.#early.has(due) && !this.#done.has(due)) return
      this.#next += 1
      if (!this.#done.delete(due)) this.#mergeNow(due)
    }
  }

  /** No more is coming now: what waits for those before it waits no longer. */
  flush(): void {
    for (const partition of [...this.#early.keys()].sort((a, b) => a - b)) {
      this.#mergeNow(partition)
      this.#done.add(partition)
    }
  }

  #mergeNow(partition: number): void {
    const updates = this.#early.get(partition)
    this.#early.delete(partition)
    if (updates !== undefined) this.#merge(updates)
  }

  #due(): number | undefined {
    return this.#expected === undefined ? this.#next : this.#expected[this.#next]
  }

  #isMerged(partition: number): boolean {
    if (this.#done.has(partition)) return true
    if (this.#expected === undefined) return partition < this.#next
    const due = this.#expected[this.#next]
    return due === undefined || partition < due
  }
}
