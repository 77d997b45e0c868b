import { ShoalError } from '../../base/errors.ts'

/**
 * What one task holds in tables and buffers, by estimate, against its limit. Over the limit the operator that asked
 * fails with TASK_MEMORY; the heap cap of the worker is the last resort behind it.
 */
export class TaskMemory {
  readonly limitBytes: number
  #usedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** @param operator As the user knows it: "reduceByKey (job.ts:12)". */
  holding(operator: string): MemoryHolding {
    return new MemoryHolding(operator, bytes => this.#add(operator, bytes))
  }

  #add(operator: string, bytes: number): void {
    this.#usedBytes += bytes
    if (this.#usedBytes <= this.limitBytes || bytes <= 0) return
    const details = { operator, bytes: this.#usedBytes, limitBytes: this.limitBytes }
    throw new ShoalError(
      'TASK_MEMORY',
      details,
      `${operator} needs about ${mebibytes(this.#usedBytes)} in one task, whose limit is ${mebibytes(this.limitBytes)}: ` +
        `use more partitions, or give workers more memory`,
    )
  }
}

/** One operator's part of a task's memory. */
export class MemoryHolding {
  readonly operator: string
  readonly #add: (bytes: number) => void
  #bytes = 0

  constructor(operator: string, add: (bytes: number) => void) {
    this.operator = operator
    this.#add = add
  }

  get bytes(): number {
    return this.#bytes
  }

  grow(bytes: number): void {
    this.#bytes += bytes
    this.#add(bytes)
  }

  resize(bytes: number): void {
    this.grow(bytes - this.#bytes)
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
