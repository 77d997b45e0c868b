import {
  asPeerId,
  hasCode,
  ShoalError,
  toWire,
  type Logger,
  type PeerId,
  type Transport,
} from '../../base/index.ts'
import {
  copyKept,
  fetchKept,
  keptBlockId,
  type KeptChange,
  type KeptContent,
  type KeptKey,
} from '../../rdd/index.ts'
import { EXECUTOR } from '../config.ts'
import { framed, KeptFiles, unframed } from './kept-files.ts'
import { bytesIn, cacheKey, PartitionCache, type CachedPartition } from './partition-cache.ts'

export interface KeptPartitionsParts {
  transport: Transport
  /** Peers for further copies, best first: on other hosts, as far as there are any. */
  copyTargets(key: string): PeerId[]
  /** Every worker is told what is kept where, and what no more. */
  share(entry: CachedPartition): void
  unshare(key: KeptKey): void
  /** Says what changed to whoever leads, at once. */
  tell(): Promise<void>
  log: Logger
}

export interface KeptPartitionsOptions {
  directory: string
  memoryBytes: number
  diskBytes: number
  diskReserveBytes: number
}

/**
 * What this peer keeps of cached RDDs, towards its workers, other peers (who read from it and keep copies) and the leader (who
 * wants to know what is where).
 */
export class KeptPartitions {
  readonly cache: PartitionCache
  readonly files: KeptFiles
  readonly #parts: KeptPartitionsParts
  /** Not yet told to the leader: the last word on each partition. */
  #changes = new Map<string, KeptChange>()
  /** By job: copies on their way to other peers, before which its tasks have not ended. */
  readonly #copying = new Map<string, Set<Promise<void>>>()

  constructor(parts: KeptPartitionsParts, options: KeptPartitionsOptions) {
    this.#parts = parts
    this.files = new KeptFiles({
      directory: options.directory,
      peer: parts.transport.self,
      reserveBytes: options.diskReserveBytes,
    })
    this.cache = new PartitionCache({
      memoryBytesMax: options.memoryBytes,
      diskBytesMax: options.diskBytes,
      files: this.files,
      onChange: (entry, isGone) => {
        if (isGone) parts.unshare(entry)
        else parts.share(entry)
        this.#changes.set(cacheKey(entry), isGone ? gone(entry) : changeOf(entry))
      },
      log: parts.log,
    })
  }

  async start(): Promise<void> {
    await this.files.open()
    const { transport } = this.#parts
    transport.handle(fetchKept, async ({ head }) => {
      const entry = this.cache.get(head)
      if (entry === undefined) return { head: { found: false }, body: nothing() }
      this.cache.touch(head)
      return { head: { found: true }, body: this.#frames(entry) }
    })
    transport.handle(copyKept, async ({ head, body }) => {
      const { session, ...key } = head
      const owner = {}
      try {
        const content = await this.#receive(owner, key, body)
        if (content === undefined) return { kept: false }
        this.cache.keep(owner, session, content)
      } finally {
        this.cache.release(owner)
      }
      await this.#parts.tell()
      return { kept: true }
    })
  }

  /** What has changed since it was asked last; give it back when it could not be told. */
  takeChanges(): KeptChange[] {
    const changes = [...this.#changes.values()]
    this.#changes = new Map()
    return changes
  }

  giveBack(changes: readonly KeptChange[]): void {
    for (const change of changes) {
      const key = cacheKey(change)
      // What has changed since is newer.
      if (!this.#changes.has(key)) this.#changes.set(key, change)
    }
  }

  /** All that is kept, for a new leader: what was not told before is told by it. */
  list(): KeptChange[] {
    this.#changes = new Map()
    return this.cache.entries().map(changeOf)
  }

  /** A task has computed a partition; its further copies begin their way. */
  keep(owner: object, job: { id: string; session: string }, content: KeptContent): void {
    const entry = this.cache.keep(owner, job.session, content)
    const { copies } = entry.level
    if (copies < 2) return
    const copying = this.#copyTo(entry, copies - 1)
    let ofJob = this.#copying.get(job.id)
    if (ofJob === undefined) this.#copying.set(job.id, (ofJob = new Set()))
    ofJob.add(copying)
    void copying.then(() => {
      ofJob.delete(copying)
      if (ofJob.size === 0) this.#copying.delete(job.id)
    })
  }

  /** Nobody wants what a task computed any more. */
  refuse(content: KeptContent): void {
    this.#parts.unshare(content)
    if ('file' in content) this.files.remove(content.file)
  }

  /** A worker thread died: what it was writing is nobody's. */
  threadEnded(filePrefix: string): void {
    const known = new Set(this.cache.entries().map(({ file }) => file?.path))
    void this.files.removeOf(filePrefix, path => known.has(path))
  }

  /** Resolves when the copies of what the job's tasks kept so far are made, or cannot be. */
  async copied(jobId: string): Promise<void> {
    const copying = this.#copying.get(jobId)
    if (copying !== undefined) await Promise.all(copying)
  }

  /** Chunks of a partition that another peer keeps: the first holder that has it. @throws NOT_FOUND when none has */
  async *fetch(
    key: KeptKey,
    holders: readonly string[],
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const body = await this.#fetch(key, holders, signal)
    if (body === undefined) throw new ShoalError('NOT_FOUND', { path: keptBlockId(key) })
    yield* unframed(body)
  }

  async #fetch(
    key: KeptKey,
    holders: readonly string[],
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    const { transport, log } = this.#parts
    const { fingerprint, partition } = key
    for (const holder of holders) {
      if (holder === transport.self) continue
      try {
        const options = { timeoutMs: EXECUTOR.keptFetchTimeoutMs, signal }
        const reply = await transport.call(asPeerId(holder), fetchKept, { fingerprint, partition }, options)
        if (reply.head.found) return reply.body
      } catch (error) {
        signal.throwIfAborted()
        log.debug({ holder, what: keptBlockId(key), error: toWire(error) }, 'a kept partition was not had')
      }
    }
    return undefined
  }

  #frames(entry: CachedPartition): AsyncIterable<Uint8Array> {
    const { chunks, file } = entry
    if (chunks !== undefined) return framed(chunks)
    return this.#framesOfFile(entry, file!.path)
  }

  /** Checked here too: the reader could not say that this copy is to go. */
  async *#framesOfFile(key: KeptKey, path: string): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of unframed(this.files.frames(path))) yield* framed([chunk])
    } catch (error) {
      this.cache.dropDamaged(key)
      throw error
    }
  }

  /** Fewer copies than wanted are no failure: as with Spark, lineage is there. */
  async #copyTo(entry: CachedPartition, copies: number): Promise<void> {
    const { transport, log } = this.#parts
    const { fingerprint, partition, session, level, sizeBytes } = entry
    const head = { fingerprint, partition, session, level, sizeBytes }
    let left = copies
    for (const peer of this.#parts.copyTargets(cacheKey(entry))) {
      if (left === 0) return
      try {
        const body = this.#frames(entry)
        const options = { timeoutMs: EXECUTOR.copyTimeoutMs, body }
        if ((await transport.call(peer, copyKept, head, options)).head.kept) left--
      } catch (error) {
        log.debug({ peer, error: toWire(error) }, 'a peer did not take a copy of a kept partition')
      }
    }
    if (left > 0) log.warn({ partition, missing: left }, 'a kept partition has fewer copies than it should')
  }

  /** A copy from another peer; undefined when there is no room for it. */
  async #receive(
    owner: object,
    head: Omit<CachedPartition, 'session' | 'chunks' | 'file'>,
    body: AsyncIterable<Uint8Array>,
  ): Promise<KeptContent | undefined> {
    const { level, sizeBytes } = head
    if (level.memory && (await this.cache.room(owner, 'memory', head, Math.max(1, sizeBytes)))) {
      const chunks: Uint8Array<SharedArrayBuffer>[] = []
      let bytes = 0
      for await (const chunk of unframed(body)) {
        bytes += chunk.length
        if (bytes > sizeBytes) break
        const shared = new Uint8Array(new SharedArrayBuffer(chunk.length))
        shared.set(chunk)
        chunks.push(shared)
      }
      return bytes === sizeBytes ? { ...head, chunks } : undefined
    }
    // With the frames of its chunks, which are as large as the sender made them.
    const roomBytes = sizeBytes + Math.ceil(sizeBytes / FRAME_SHARE) + FRAME_SHARE
    if (!level.disk || !(await this.cache.room(owner, 'disk', head, roomBytes))) return undefined
    try {
      const file = await this.files.write(head, unframed(body))
      if (file.sizeBytes <= roomBytes) return { ...head, file: file.path, fileBytes: file.sizeBytes }
      this.files.remove(file.path)
    } catch (error) {
      if (!hasCode(error, 'DISK_FULL')) throw error
    }
    return undefined
  }
}

async function* nothing(): AsyncGenerator<never, void, undefined> {}

/** Frames are a small share of a file: chunks have some hundred kilobytes. */
const FRAME_SHARE = 1024

function changeOf(entry: CachedPartition): KeptChange {
  const { fingerprint, partition, session } = entry
  return {
    fingerprint,
    partition,
    session,
    memoryBytes: bytesIn('memory', entry),
    diskBytes: bytesIn('disk', entry),
    isGone: false,
  }
}

function gone({ fingerprint, partition, session }: CachedPartition): KeptChange {
  return { fingerprint, partition, session, memoryBytes: 0, diskBytes: 0, isGone: true }
}
