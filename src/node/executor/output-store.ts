import { appendFile, mkdir, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { TaskId } from '../../rdd/index.ts'
import { spillFailure } from './spill-files.ts'

/** One sealed output: a map task's buckets, or a result that is too large to travel with the report. */
interface Sealed {
  jobId: string
  session: string
  id: TaskId
  shuffle?: { key: string; map: number }
  /** Bucket r is bytes [offsets[r], offsets[r + 1]); a result is one bucket. */
  offsets: number[]
  checksum: number
  sizeBytes: number
  /** In memory, or undefined once it is in `file`. */
  bytes: Uint8Array | undefined
  file: string | undefined
}

/** A result in a file, without what its task added to accumulators. */
export interface ResultFile {
  file: string
  sizeBytes: number
  checksum: number
  updates?: Uint8Array
}

export interface SealedDescription {
  jobId: string
  id: TaskId
  shuffle?: { key: string; map: number }
  checksum: number
  sizeBytes: number
}

/** Whose map output it is, and where its buckets end. */
interface MapOutputSeal {
  jobId: string
  session: string
  id: TaskId
  /** `<session>/<fingerprint of the shuffle node>`. */
  shuffle: string
  offsets: number[]
  checksum: number
}

/**
 * Outputs of this executor's tasks, kept until their job (results) or session (map outputs) ends. The newest stay in
 * memory up to a budget; older ones go to files. Files are only a spill area: nothing here outlives the process.
 */
export class OutputStore {
  readonly #directory: string
  readonly #memoryBytesMax: number
  readonly #peer: string
  #closed = false
  #memoryBytes = 0
  #spilledBytes = 0
  #fileSeq = 0
  /** Writing to disk: one output at a time, so that none is written twice. */
  #spilling: Promise<void> = Promise.resolve()
  /** Insertion order is age. */
  readonly #sealed = new Map<string, Sealed>()

  /**
   * @param options.memoryBytesMax bytes kept in memory before the oldest go to disk.
   * @param options.peer named in errors.
   */
  constructor(options: { directory: string; memoryBytesMax: number; peer: string }) {
    this.#directory = options.directory
    this.#peer = options.peer
    this.#memoryBytesMax = options.memoryBytesMax
  }

  /** Outputs that went from memory to files since the start. */
  get spilledBytes(): number {
    return this.#spilledBytes
  }

  /** Empties the spill area of an earlier process. */
  async open(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
    await mkdir(this.#directory, { recursive: true })
  }

  async sealMapOutput(output: MapOutputSeal, bytes: Uint8Array): Promise<void> {
    const { shuffle, ...rest } = output
    const key = mapKey(shuffle, output.id.partition)
    await this.#seal(key, { ...rest, shuffle: { key: shuffle, map: output.id.partition } }, bytes)
  }

  /** The same for one that its task wrote to a file of this store's directory; the file is the store's from now on. */
  async sealMapFile(
    output: MapOutputSeal,
    { file, sizeBytes }: { file: string; sizeBytes: number },
  ): Promise<void> {
    const { shuffle, ...rest } = output
    const map = output.id.partition
    const key = mapKey(shuffle, map)
    const replaced = this.#drop(key)
    this.#sealed.set(key, { ...rest, shuffle: { key: shuffle, map }, sizeBytes, bytes: undefined, file })
    await replaced
  }

  /** Removes what an attempt that came to nothing may have left under this name. */
  async discard(name: string): Promise<void> {
    await rm(join(this.#directory, name), { force: true })
  }

  async sealResult(
    output: { jobId: string; session: string; id: TaskId; checksum: number },
    bytes: Uint8Array,
  ): Promise<void> {
    await this.#seal(
      resultKey(output.jobId, output.id.partition),
      { ...output, offsets: [0, bytes.byteLength] },
      bytes,
    )
  }

  /** The same for one that its task wrote to a file of this store's directory; `updates` are put behind its rows. */
  async sealResultFile(
    output: { jobId: string; session: string; id: TaskId },
    { file, sizeBytes, checksum, updates }: ResultFile,
  ): Promise<{ sizeBytes: number; checksum: number }> {
    const whole = { sizeBytes, checksum }
    if (updates !== undefined) {
      try {
        await appendFile(file, updates)
      } catch (error) {
        await rm(file, { force: true })
        throw spillFailure(this.#peer, 'write', error)
      }
      whole.sizeBytes += updates.byteLength
      whole.checksum = crc32(updates, checksum)
    }
    const key = resultKey(output.jobId, output.id.partition)
    const replaced = this.#drop(key)
    this.#sealed.set(key, { ...output, ...whole, offsets: [0, whole.sizeBytes], bytes: undefined, file })
    await replaced
    return whole
  }

  async #seal(
    key: string,
    fields: Omit<Sealed, 'bytes' | 'file' | 'sizeBytes'>,
    bytes: Uint8Array,
  ): Promise<void> {
    const replaced = this.#drop(key)
    this.#sealed.set(key, { ...fields, sizeBytes: bytes.byteLength, bytes, file: undefined })
    this.#memoryBytes += bytes.byteLength
    await replaced
    if (this.#memoryBytes <= this.#memoryBytesMax) return
    const spilled = this.#spilling.then(() => this.#spill())
    this.#spilling = spilled.catch(() => {})
    try {
      await spilled
    } catch (error) {
      // Over the budget and nowhere to go: it is not kept, and its task runs again where there is room.
      await this.#drop(key)
      throw error
    }
  }

  /** The oldest outputs go to disk until the budget holds. */
  async #spill(): Promise<void> {
    for (const sealed of this.#sealed.values()) {
      if (this.#memoryBytes <= this.#memoryBytesMax || this.#closed) return
      const { bytes } = sealed
      if (bytes === undefined) continue
      const file = join(this.#directory, `${this.#fileSeq++}.out`)
      try {
        await writeFile(file, bytes)
      } catch (error) {
        await rm(file, { force: true })
        throw spillFailure(this.#peer, 'write', error)
      }
      if (sealed.bytes === undefined) {
        // Dropped while it was written.
        await rm(file, { force: true })
        continue
      }
      sealed.bytes = undefined
      sealed.file = file
      this.#memoryBytes -= bytes.byteLength
      this.#spilledBytes += bytes.byteLength
    }
  }

  /**
   * One bucket of a map output, in pieces: as a whole from memory, a megabyte at a time from disk. Undefined when this
   * executor does not have it; the pieces end early when it is dropped meanwhile.
   */
  bucket(
    shuffle: string,
    map: number,
    reduce: number,
  ): { sizeBytes: number; pieces: AsyncIterable<Uint8Array> } | undefined {
    const sealed = this.#sealed.get(mapKey(shuffle, map))
    const start = sealed?.offsets[reduce]
    const end = sealed?.offsets[reduce + 1]
    if (sealed === undefined || start === undefined || end === undefined) return undefined
    return { sizeBytes: end - start, pieces: piecesOf(sealed, start, end) }
  }

  /**
   * A result, a megabyte at a time where it is on disk; its checksum was verified against what the worker computed.
   * Undefined when this executor does not have it (any more) as it was.
   */
  async result(
    jobId: string,
    partition: number,
  ): Promise<{ sizeBytes: number; checksum: number; pieces: AsyncIterable<Uint8Array> } | undefined> {
    const sealed = this.#sealed.get(resultKey(jobId, partition))
    if (sealed === undefined) return undefined
    const { sizeBytes, checksum } = sealed
    let found = 0
    for await (const piece of piecesOf(sealed, 0, sizeBytes)) found = crc32(piece, found)
    return found === checksum ? { sizeBytes, checksum, pieces: piecesOf(sealed, 0, sizeBytes) } : undefined
  }

  hasResult(jobId: string, partition: number): boolean {
    return this.#sealed.has(resultKey(jobId, partition))
  }

  list(): SealedDescription[] {
    return [...this.#sealed.values()].map(({ jobId, id, shuffle, checksum, sizeBytes }) => ({
      jobId,
      id,
      checksum,
      sizeBytes,
      ...(shuffle === undefined ? {} : { shuffle }),
    }))
  }

  sessions(): string[] {
    return [...new Set(Array.from(this.#sealed.values(), sealed => sealed.session))]
  }

  async dropResult(jobId: string, partition: number): Promise<void> {
    await this.#drop(resultKey(jobId, partition))
  }

  /** Results go; map outputs belong to the session. */
  async dropJob(jobId: string): Promise<void> {
    for (const [key, sealed] of this.#sealed) {
      if (sealed.jobId === jobId && sealed.shuffle === undefined) await this.#drop(key)
    }
  }

  async dropSession(session: string): Promise<void> {
    for (const [key, sealed] of this.#sealed) if (sealed.session === session) await this.#drop(key)
  }

  async #drop(key: string): Promise<void> {
    const sealed = this.#sealed.get(key)
    if (sealed === undefined) return
    this.#sealed.delete(key)
    if (sealed.bytes !== undefined) this.#memoryBytes -= sealed.bytes.byteLength
    sealed.bytes = undefined
    if (sealed.file !== undefined) await rm(sealed.file, { force: true })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#sealed.clear()
    await this.#spilling
    await rm(this.#directory, { recursive: true, force: true })
  }
}

function mapKey(shuffle: string, map: number): string {
  return `m ${shuffle} ${map}`
}

function resultKey(jobId: string, partition: number): string {
  return `r ${jobId} ${partition}`
}

/** Read from disk at once. */
const PIECE_BYTES = 1 << 20

async function* piecesOf(
  sealed: Sealed,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (sealed.bytes !== undefined) {
    yield sealed.bytes.subarray(start, end)
    return
  }
  // Gone when it was dropped a moment ago.
  const file = sealed.file === undefined ? undefined : await open(sealed.file, 'r').catch(() => undefined)
  if (file === undefined) return
  try {
    for (let at = start; at < end;) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, end - at))
      const { bytesRead } = await file.read(piece, 0, piece.byteLength, at)
      if (bytesRead === 0) return
      at += bytesRead
      yield piece.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}
