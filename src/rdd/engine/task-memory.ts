import { ShoalError } from '../../base/errors.ts'
import type { TaskSpill } from './task-spill.ts'

/** Memory is asked of the peer in steps of this: a task asks a few hundred times, not once per record. */
const GRANT_STEP_BYTES = 1 << 20

/**
 * What one task holds in tables and buffers, by estimate, against its own limit and what the peer grants it. An operator
 * that is refused writes to disk (`spill`); where it cannot, it fails with TASK_MEMORY. The heap cap of the worker is the
 * last resort behind it.
 */
export class TaskMemory {
  readonly limitBytes: number
  /**
   * An operator gets so much whatever the others of its task have: one that comes after another in the chain must not
   * have to write every record by itself.
   */
  readonly floorBytes: number
  readonly #reserve: (totalBytes: number) => boolean
  readonly #spill: TaskSpill | undefined
  #usedBytes = 0
  #grantedBytes = 0
  #peakBytes = 0

  /**
   * @param reserve Asks the peer for so much in all. @default always granted
   * @param spill Where operators write that are refused; without it they fail.
   */
  constructor(limitBytes: number, reserve: (totalBytes: number) => boolean = () => true, spill?: TaskSpill) {
    this.limitBytes = limitBytes
    this.floorBytes = Math.floor(limitBytes / 16)
    this.#reserve = reserve
    this.#spill = spill
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get peakBytes(): number {
    return this.#peakBytes
  }

  /** @param operator As the user knows it: "reduceByKey (job.ts:12)". */
  holding(operator: string): MemoryHolding {
    return new MemoryHolding(operator, this, this.#spill)
  }

  /** False changes nothing. */
  tryAdd(bytes: number): boolean {
    if (bytes > 0 && !this.#isGranted(this.#usedBytes + bytes)) return false
    this.add(bytes)
    return true
  }

  /** Beyond any limit too: for what is bounded elsewhere, and to take back. */
  add(bytes: number): void {
    this.#usedBytes += bytes
    if (this.#usedBytes > this.#peakBytes) this.#peakBytes = this.#usedBytes
  }

  #isGranted(wantedBytes: number): boolean {
    if (wantedBytes <= this.#grantedBytes) return true
    if (wantedBytes > this.limitBytes) return false
    const steps = Math.ceil(wantedBytes / GRANT_STEP_BYTES) * GRANT_STEP_BYTES
    const grantedBytes = Math.min(steps, this.limitBytes)
    if (!this.#reserve(grantedBytes)) return false
    this.#grantedBytes = grantedBytes
    return true
  }
}

/** One operator's part of a task's memory. */
export class MemoryHolding {
  readonly operator: string
  readonly #memory: TaskMemory
  readonly #spill: TaskSpill | undefined
  #bytes = 0

  constructor(operator: string, memory: TaskMemory, spill: TaskSpill | undefined) {
    this.operator = operator
    this.#memory = memory
    this.#spill = spill
  }

  get bytes(): number {
    return this.#bytes
  }

  get limitBytes(): number {
    return this.#memory.limitBytes
  }

  /** Files for what there is no memory for. Throws TASK_MEMORY where the task has none. */
  get spill(): TaskSpill {
    if (this.#spill === undefined) throw this.refusal(0)
    return this.#spill
  }

  /** False when there is no more: nothing has changed then. */
  tryGrow(bytes: number): boolean {
    if (!this.#memory.tryAdd(bytes)) {
      if (this.#bytes + bytes > this.#memory.floorBytes) return false
      this.#memory.add(bytes)
    }
    this.#bytes += bytes
    return true
  }

  tryResize(bytes: number): boolean {
    return this.tryGrow(bytes - this.#bytes)
  }

  /** Holds it whatever the limits say: the least that an operator needs to go on, or what has another bound. */
  hold(bytes: number): void {
    this.#memory.add(bytes)
    this.#bytes += bytes
  }

  /** Throws TASK_MEMORY when there is no more: for what cannot be written to disk. */
  grow(bytes: number): void {
    if (!this.tryGrow(bytes)) throw this.refusal(bytes)
  }

  resize(bytes: number): void {
    this.grow(bytes - this.#bytes)
  }

  /** What is thrown when the operator cannot do with what it has. */
  refusal(bytes: number): ShoalError<'TASK_MEMORY'> {
    const needed = this.#memory.usedBytes + bytes
    const { operator } = this
    const { limitBytes } = this.#memory
    const reason =
      needed > limitBytes
        ? `whose limit is ${mebibytes(limitBytes)}`
        : `more than its peer can spare besides its other tasks`
    return new ShoalError(
      'TASK_MEMORY',
      { operator, bytes: needed, limitBytes },
      `${operator} needs about ${mebibytes(needed)} in one task, ${reason}: use more partitions, or give workers more memory`,
    )
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
