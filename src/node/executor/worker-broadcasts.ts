import type { SharedBroadcast } from '../broadcast/index.ts'

/**
 * Which broadcasts a worker thread has: decoded in its heap, as soon as a task reads them. Kept here, on the main thread,
 * so that what a task is to read cannot go between its being sent and its start.
 */
export class WorkerBroadcasts {
  readonly #bytesMax: number
  /** Bytes of each; the least recently used first. */
  readonly #known = new Map<string, number>()
  #bytes = 0

  /** @param bytesMax encoded bytes of what a thread keeps between tasks */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** What a task that needs these must be sent first, and what is to go for them. */
  prepare(needed: readonly SharedBroadcast[]): { send: SharedBroadcast[]; drop: string[] } {
    const send = needed.filter(({ id }) => !this.#known.has(id))
    for (const { id, bytes } of needed) {
      if (!this.#known.delete(id)) this.#bytes += bytes.byteLength
      this.#known.set(id, bytes.byteLength)
    }
    const drop: string[] = []
    const wanted = new Set(needed.map(({ id }) => id))
    for (const [id, bytes] of this.#known) {
      if (this.#bytes <= this.#bytesMax) break
      if (wanted.has(id)) continue
      this.#known.delete(id)
      this.#bytes -= bytes
      drop.push(id)
    }
    return { send, drop }
  }

  /** Those of them that the thread has, and is to drop. */
  forget(ids: readonly string[]): string[] {
    return ids.filter(id => {
      const bytes = this.#known.get(id)
      if (bytes === undefined) return false
      this.#known.delete(id)
      this.#bytes -= bytes
      return true
    })
  }
}
