import { invariant, toWire, type Logger } from '../../base/index.ts'
import { FRAME_HEAD_BYTES, type KeptContent, type KeptKey, type KeptLevel } from '../../rdd/index.ts'
import type { KeptFiles } from './kept-files.ts'

/** A kept partition: in shared memory, readable by every worker of the peer without a copy, or in a file, or (for a moment) both. */
export interface CachedPartition extends KeptKey {
  session: string
  level: KeptLevel
  /** Encoded rows, without the frames of a file. */
  sizeBytes: number
  chunks: Uint8Array<SharedArrayBuffer>[] | undefined
  file: { path: string; sizeBytes: number } | undefined
}

export type Place = 'memory' | 'disk'

export interface PartitionCacheParts {
  memoryBytesMax: number
  diskBytesMax: number
  files: Pick<KeptFiles, 'write' | 'remove'>
  /** It was kept, went to disk, or (`isGone`) is kept no more: workers are told, and the leader. */
  onChange(entry: CachedPartition, isGone: boolean): void
  log: Logger
}

/**
 * The partitions of cached RDDs that this peer keeps, within a budget of memory and one of disk. Room is granted before it is
 * used, to the task (`owner`) that computes a partition. For it others go, those used longest ago first, but none of the
 * same RDD (Spark's rule: of an RDD that does not fit, what is kept is of use in the next pass; the least recently used
 * would be just what is needed next): from memory to disk where their level says so, else for good. All or nothing: where
 * that would not make room enough, nobody goes. Losing one costs only time, as lineage brings it back; what is pinned has
 * no lineage and never goes for good.
 */
export class PartitionCache {
  readonly #parts: PartitionCacheParts
  readonly #used: Record<Place, number> = { memory: 0, disk: 0 }
  /** Insertion order is recency of use. */
  readonly #entries = new Map<string, CachedPartition>()
  /** By owner, then partition: granted and not yet handed over. */
  readonly #grants = new Map<object, Map<string, Record<Place, number>>>()
  /** Attempts that are over: they are granted nothing, however late the answer. */
  readonly #over = new WeakSet<object>()
  /** One who makes room at a time: moving a partition to disk takes a while. */
  #making: Promise<unknown> = Promise.resolve()

  constructor(parts: PartitionCacheParts) {
    this.#parts = parts
  }

  get count(): number {
    return this.#entries.size
  }

  /** With what is granted and not yet handed over. */
  get memoryBytes(): number {
    return this.#used.memory
  }

  get diskBytes(): number {
    return this.#used.disk
  }

  /** So much more for a partition that `owner` computes; 0 gives back what it was granted there. */
  async room(owner: object, place: Place, key: KeptKey, bytes: number): Promise<boolean> {
    if (bytes === 0) {
      const grant = this.#grants.get(owner)?.get(cacheKey(key))
      if (grant === undefined) return true
      this.#used[place] -= grant[place]
      grant[place] = 0
      return true
    }
    const made = this.#making.then(async () => {
      if (!(await this.#makeRoom(place, key.fingerprint, bytes)) || this.#over.has(owner)) return false
      this.#used[place] += bytes
      this.#grantOf(owner, cacheKey(key))[place] += bytes
      return true
    })
    this.#making = made.catch(() => undefined)
    return await made
  }

  #grantOf(owner: object, key: string): Record<Place, number> {
    let mine = this.#grants.get(owner)
    if (mine === undefined) this.#grants.set(owner, (mine = new Map()))
    let grant = mine.get(key)
    if (grant === undefined) mine.set(key, (grant = { memory: 0, disk: 0 }))
    return grant
  }

  /** The attempt is over: what it was granted and has not handed over is free again. */
  release(owner: object): void {
    for (const grant of this.#grants.get(owner)?.values() ?? []) {
      this.#used.memory -= grant.memory
      this.#used.disk -= grant.disk
    }
    this.#grants.delete(owner)
    this.#over.add(owner)
  }

  /** Takes over a partition that `owner` was granted room for; one that was kept before goes. */
  keep(owner: object, session: string, content: KeptContent): CachedPartition {
    const key = cacheKey(content)
    const grant = this.#grants.get(owner)?.get(key)
    this.#grants.get(owner)?.delete(key)
    if (grant !== undefined) {
      this.#used.memory -= grant.memory
      this.#used.disk -= grant.disk
    }
    const before = this.#entries.get(key)
    if (before !== undefined) this.#remove(key, before)
    const { fingerprint, partition, level, sizeBytes } = content
    const entry: CachedPartition = {
      fingerprint,
      partition,
      session,
      level,
      sizeBytes,
      chunks: 'chunks' in content ? content.chunks : undefined,
      file: 'file' in content ? { path: content.file, sizeBytes: content.fileBytes } : undefined,
    }
    if (entry.chunks !== undefined) this.#used.memory += sizeBytes
    this.#used.disk += entry.file?.sizeBytes ?? 0
    this.#entries.set(key, entry)
    this.#parts.onChange(entry, false)
    return entry
  }

  get(key: KeptKey): CachedPartition | undefined {
    return this.#entries.get(cacheKey(key))
  }

  touch(key: KeptKey): void {
    const entry = this.get(key)
    if (entry === undefined) return
    this.#entries.delete(cacheKey(key))
    this.#entries.set(cacheKey(key), entry)
  }

  entries(): CachedPartition[] {
    return [...this.#entries.values()]
  }

  /** What was read of its file is not what was written: it is as good as lost. */
  dropDamaged(key: KeptKey): void {
    const entry = this.get(key)
    if (entry?.file !== undefined && entry.chunks === undefined) this.#drop(cacheKey(key), entry)
  }

  dropFingerprint(fingerprint: string): void {
    this.#dropWhere(entry => entry.fingerprint === fingerprint)
  }

  dropSession(session: string): void {
    this.#dropWhere(entry => entry.session === session)
  }

  #dropWhere(matches: (entry: CachedPartition) => boolean): void {
    for (const [key, entry] of this.#entries) if (matches(entry)) this.#drop(key, entry)
  }

  async #makeRoom(place: Place, fingerprint: string, bytes: number): Promise<boolean> {
    const max = place === 'memory' ? this.#parts.memoryBytesMax : this.#parts.diskBytesMax
    const free = (): number => max - this.#used[place]
    const victims = this.entries().filter(entry => this.#mayLeave(place, entry, fingerprint))
    const leaving = victims.reduce((sum, entry) => sum + bytesIn(place, entry), 0)
    if (free() + leaving < bytes) return false
    for (const victim of victims) {
      if (free() >= bytes) break
      const key = cacheKey(victim)
      // It may have been dropped while an earlier one was moved.
      if (this.#entries.get(key) !== victim) continue
      if (place === 'memory' && victim.level.disk) await this.#toDisk(key, victim)
      else this.#drop(key, victim)
    }
    return free() >= bytes
  }

  #mayLeave(place: Place, entry: CachedPartition, fingerprint: string): boolean {
    if (entry.fingerprint === fingerprint || bytesIn(place, entry) === 0) return false
    return place === 'memory' || entry.level.pinned !== true
  }

  /** What cannot go there (the disk is full) goes for good, unless it is pinned: then it stays. */
  async #toDisk(key: string, entry: CachedPartition): Promise<void> {
    const { chunks } = entry
    if (chunks === undefined) return
    try {
      const room = await this.#makeRoom('disk', entry.fingerprint, entry.sizeBytes + framesOf(chunks))
      if (room) {
        const file = await this.#parts.files.write(entry, chunks)
        if (this.#entries.get(key) !== entry) {
          // Dropped while it was written.
          this.#parts.files.remove(file.path)
          return
        }
        entry.file = file
        entry.chunks = undefined
        this.#used.disk += file.sizeBytes
        this.#used.memory -= entry.sizeBytes
        this.#parts.onChange(entry, false)
        return
      }
    } catch (error) {
      this.#parts.log.warn({ error: toWire(error) }, 'a kept partition could not be moved to disk')
    }
    if (entry.level.pinned !== true && this.#entries.get(key) === entry) this.#drop(key, entry)
  }

  #drop(key: string, entry: CachedPartition): void {
    this.#remove(key, entry)
    this.#parts.onChange(entry, true)
  }

  #remove(key: string, entry: CachedPartition): void {
    this.#entries.delete(key)
    if (entry.chunks !== undefined) this.#used.memory -= entry.sizeBytes
    if (entry.file === undefined) return
    this.#used.disk -= entry.file.sizeBytes
    this.#parts.files.remove(entry.file.path)
  }

  assertInvariants(): void {
    const sum = (place: Place): number => {
      let bytes = 0
      for (const entry of this.#entries.values()) bytes += bytesIn(place, entry)
      for (const mine of this.#grants.values()) for (const grant of mine.values()) bytes += grant[place]
      return bytes
    }
    invariant(sum('memory') === this.#used.memory, 'the memory of kept partitions is counted wrong')
    invariant(sum('disk') === this.#used.disk, 'the disk of kept partitions is counted wrong')
    invariant(this.#used.memory <= this.#parts.memoryBytesMax, 'more is kept in memory than may be')
    invariant(this.#used.disk <= this.#parts.diskBytesMax, 'more is kept on disk than may be')
  }
}

export function bytesIn(place: Place, { chunks, file, sizeBytes }: CachedPartition): number {
  if (place === 'memory') return chunks === undefined ? 0 : sizeBytes
  return file?.sizeBytes ?? 0
}

/** What frames add to chunks in a file. */
function framesOf(chunks: readonly Uint8Array[]): number {
  return chunks.length * FRAME_HEAD_BYTES
}

export function cacheKey({ fingerprint, partition }: KeptKey): string {
  return `${fingerprint} ${partition}`
}
