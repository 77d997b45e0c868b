import { partialOf, type PartialResult } from '../../rdd/index.ts'

/** Bytes of small results that wait for the consumer; beyond that an executor seals them until they are wanted. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024

export interface SealedResult {
  partition: number
  executor: string
  checksum: number
  sizeBytes: number
  /** So many of its last bytes are what the task added to accumulators. */
  updateBytes?: number
}

interface Offer {
  id: { partition: number }
  executor: string
  checksum: number
  sizeBytes: number
  updateBytes?: number | undefined
  inline?: Uint8Array | undefined
}

function bytesOf({ bytes, updates }: PartialResult): number {
  return bytes.byteLength + (updates?.byteLength ?? 0)
}

/** Partial results between their arrival, in any order, and the consumer: one for each partition. */
export class ResultQueue {
  /** Partitions that the consumer has yet to get, ascending. */
  readonly #wanted: Set<number>
  readonly #ordered: boolean
  readonly #ready = new Map<number, PartialResult | SealedResult>()
  readonly #accepted = new Set<number>()
  /** Sealed ones that could not be fetched, and from where; until they are offered again. */
  readonly #lost = new Map<number, string>()
  #waitingBytes = 0
  #wake: (() => void) | undefined

  constructor(partitions: readonly number[], ordered: boolean) {
    this.#wanted = new Set(partitions)
    this.#ordered = ordered
  }

  /** True when the executor need not keep it. */
  offer(offer: Offer): boolean {
    const { partition } = offer.id
    if (this.#accepted.has(partition) || !this.#wanted.has(partition)) return true
    const { inline, updateBytes } = offer
    this.#lost.delete(partition)
    if (inline !== undefined && this.#waitingBytes + inline.byteLength <= WAITING_BYTES_MAX) {
      this.#waitingBytes += inline.byteLength
      this.#accepted.add(partition)
      this.#ready.set(partition, partialOf(partition, { bytes: inline, updateBytes }))
    } else {
      const { executor, checksum, sizeBytes } = offer
      const updates = updateBytes === undefined ? {} : { updateBytes }
      this.#ready.set(partition, { partition, executor, checksum, sizeBytes, ...updates })
    }
    this.#wake?.()
    return this.#accepted.has(partition)
  }

  /** The next one, the lowest partition if ordered; a sealed one is to be pulled. Undefined when all were handed out. */
  async next(): Promise<PartialResult | SealedResult | undefined> {
    for (;;) {
      const [lowest] = this.#wanted
      if (lowest === undefined) return undefined
      const partition = this.#ordered ? lowest : this.#ready.keys().next().value
      const result = partition === undefined ? undefined : this.#ready.get(partition)
      if (result !== undefined) {
        this.#ready.delete(result.partition)
        if ('bytes' in result) {
          this.#waitingBytes -= bytesOf(result)
          this.#wanted.delete(result.partition)
        }
        return result
      }
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /** A sealed one was pulled, whole; what another attempt offered meanwhile is not wanted any more. */
  accept(partition: number): void {
    const offered = this.#ready.get(partition)
    if (offered !== undefined && 'bytes' in offered) this.#waitingBytes -= bytesOf(offered)
    this.#ready.delete(partition)
    this.#accepted.add(partition)
    this.#wanted.delete(partition)
  }

  /** A sealed one could not be had there; what another attempt offered meanwhile stays. False: that is no loss. */
  lose(partition: number, executor: string): boolean {
    if (this.#ready.has(partition) || !this.#wanted.has(partition)) return false
    this.#lost.set(partition, executor)
    return true
  }

  /** What the leader must make again. */
  lost(): { partition: number; executor: string }[] {
    return Array.from(this.#lost, ([partition, executor]) => ({ partition, executor }))
  }

  accepted(): number[] {
    return [...this.#accepted].sort((a, b) => a - b)
  }

  complete(): boolean {
    return this.#wanted.size === 0
  }
}
