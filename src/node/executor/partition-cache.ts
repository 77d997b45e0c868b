/** A cached partition in shared memory, readable by every worker of the peer without a copy. */
export interface CachedPartition {
  fingerprint: string
  partition: number
  session: string
  bytes: Uint8Array<SharedArrayBuffer>
}

/**
 * Partitions of cached RDDs that this peer computed, least recently used first out. Losing one costs only time: lineage
 * brings it back.
 */
export class PartitionCache {
  readonly #bytesMax: number
  #bytes = 0
  /** Insertion order is recency of use. */
  readonly #entries = new Map<string, CachedPartition>()

  constructor(options: { bytesMax: number }) {
    this.#bytesMax = options.bytesMax
  }

  get sizeBytes(): number {
    return this.#bytes
  }

  /** Keeps it unless it alone is over the budget; returns what had to go. */
  keep(entry: CachedPartition): { kept: boolean; dropped: CachedPartition[] } {
    const key = cacheKey(entry.fingerprint, entry.partition)
    if (entry.bytes.byteLength > this.#bytesMax) return { kept: false, dropped: [] }
    const dropped: CachedPartition[] = []
    const old = this.#entries.get(key)
    if (old !== undefined) this.#remove(key, old)
    while (this.#bytes + entry.bytes.byteLength > this.#bytesMax) {
      const [oldestKey, oldest] = this.#entries.entries().next().value!
      this.#remove(oldestKey, oldest)
      dropped.push(oldest)
    }
    this.#entries.set(key, entry)
    this.#bytes += entry.bytes.byteLength
    return { kept: true, dropped }
  }

  touch(fingerprint: string, partition: number): void {
    const key = cacheKey(fingerprint, partition)
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    this.#entries.set(key, entry)
  }

  entries(): CachedPartition[] {
    return [...this.#entries.values()]
  }

  dropFingerprint(fingerprint: string): CachedPartition[] {
    return this.#dropWhere(entry => entry.fingerprint === fingerprint)
  }

  dropSession(session: string): CachedPartition[] {
    return this.#dropWhere(entry => entry.session === session)
  }

  #dropWhere(matches: (entry: CachedPartition) => boolean): CachedPartition[] {
    const dropped: CachedPartition[] = []
    for (const [key, entry] of this.#entries) {
      if (!matches(entry)) continue
      this.#remove(key, entry)
      dropped.push(entry)
    }
    return dropped
  }

  #remove(key: string, entry: CachedPartition): void {
    this.#entries.delete(key)
    this.#bytes -= entry.bytes.byteLength
  }
}

export function cacheKey(fingerprint: string, partition: number): string {
  return `${fingerprint} ${partition}`
}
