import { open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BROADCAST, chunkCount, isChunkGood, type BroadcastRef } from '../../rdd/index.ts'
import { spillFailure } from '../executor/spill-files.ts'

export type SharedMemory = Uint8Array<SharedArrayBuffer>

export interface StoredBroadcast {
  ref: BroadcastRef
  session: string
  /** How often the requester had called it back when it was sent. */
  generation: number
}

interface Entry extends StoredBroadcast {
  /** In memory that all threads share, or undefined while it is in `file` only. */
  bytes: SharedMemory | undefined
  file: string | undefined
}

/**
 * The broadcasts of this peer, each once: in shared memory up to a budget, the least recently used beyond it in files.
 * They go when their requester says so, or with its session; nothing outlives the process.
 */
export class BroadcastStore {
  readonly #directory: string
  readonly #memoryBytesMax: number
  readonly #peer: string
  /** Insertion order is recency of use. */
  readonly #entries = new Map<string, Entry>()
  readonly #destroyed = new Set<string>()
  /** Who waits for which. */
  readonly #waiting = new Map<string, Set<() => void>>()
  #memoryBytes = 0
  #fileSeq = 0
  /** Writing to disk: one at a time. */
  #spilling: Promise<void> = Promise.resolve()

  /** @param options.directory emptied at start and end by whoever it belongs to */
  constructor(options: { directory: string; memoryBytesMax: number; peer: string }) {
    this.#directory = options.directory
    this.#memoryBytesMax = options.memoryBytesMax
    this.#peer = options.peer
  }

  state(id: string): 'here' | 'destroyed' | undefined {
    if (this.#destroyed.has(id)) return 'destroyed'
    return this.#entries.has(id) ? 'here' : undefined
  }

  stored(id: string): StoredBroadcast | undefined {
    return this.#entries.get(id)
  }

  sessions(): string[] {
    return [...new Set(Array.from(this.#entries.values(), ({ session }) => session))]
  }

  /** Whole and verified. An older generation than the one that is here changes nothing. @throws DISK_FULL, DISK_FAILED */
  async keep(stored: StoredBroadcast, bytes: SharedMemory): Promise<void> {
    const { id } = stored.ref
    const known = this.#entries.get(id)
    if (this.#destroyed.has(id) || (known !== undefined && known.generation >= stored.generation)) return
    if (known !== undefined) await this.#remove(id, known)
    this.#entries.set(id, { ...stored, bytes, file: undefined })
    this.#memoryBytes += bytes.byteLength
    this.#wake(id)
    await this.#makeRoom()
  }

  /** All of it, from disk when it has been spilled; undefined when it is not here, or its file has rotted. */
  async bytes(id: string): Promise<SharedMemory | undefined> {
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    this.#entries.delete(id)
    this.#entries.set(id, entry)
    if (entry.bytes !== undefined) return entry.bytes
    const bytes = await readWhole(entry)
    if (bytes === undefined) {
      if (this.#entries.get(id) === entry) await this.#remove(id, entry)
      return undefined
    }
    if (entry.bytes === undefined && this.#entries.get(id) === entry) {
      entry.bytes = bytes
      this.#memoryBytes += bytes.byteLength
      await this.#makeRoom()
    }
    return bytes
  }

  /** Copies of its pieces from `first` on; ends early when it goes meanwhile. */
  async *pieces(id: string, first: number): AsyncGenerator<Uint8Array, void, undefined> {
    const sizeBytes = this.#entries.get(id)?.ref.sizeBytes ?? 0
    for (let at = first * BROADCAST.chunkBytes; at < sizeBytes; at += PIECE_BYTES) {
      const entry = this.#entries.get(id)
      if (entry === undefined) return
      const end = Math.min(at + PIECE_BYTES, sizeBytes)
      // Memory that is shared between threads is no good for sockets and ciphers.
      const piece =
        entry.bytes === undefined
          ? await readPart(entry.file, at, end)
          : new Uint8Array(entry.bytes.subarray(at, end))
      if (piece === undefined) return
      yield piece
    }
  }

  /** True as soon as it is here, or known to be destroyed; false after `waitMs`. */
  async arrival(id: string, waitMs: number, signal?: AbortSignal): Promise<boolean> {
    if (this.state(id) !== undefined) return true
    const arrived = Promise.withResolvers<void>()
    const waiters = this.#waiting.get(id) ?? new Set()
    this.#waiting.set(id, waiters)
    const wake = (): void => arrived.resolve()
    waiters.add(wake)
    const timer = setTimeout(wake, waitMs)
    signal?.addEventListener('abort', wake, { once: true })
    await arrived.promise
    clearTimeout(timer)
    signal?.removeEventListener('abort', wake)
    waiters.delete(wake)
    if (waiters.size === 0) this.#waiting.delete(id)
    return this.state(id) !== undefined
  }

  /** Copies up to this generation go. */
  async forget(id: string, generation: number, destroyed: boolean): Promise<void> {
    if (destroyed) this.destroyed(id)
    const entry = this.#entries.get(id)
    if (entry !== undefined && (destroyed || entry.generation <= generation)) await this.#remove(id, entry)
  }

  /** It is known that nobody may have it any more. */
  destroyed(id: string): void {
    this.#destroyed.add(id)
    const [oldest] = this.#destroyed
    if (this.#destroyed.size > BROADCAST.destroyedMax && oldest !== undefined) this.#destroyed.delete(oldest)
    this.#wake(id)
  }

  /** Ids of what went. */
  async dropSession(session: string): Promise<string[]> {
    const dropped: string[] = []
    for (const [id, entry] of this.#entries) {
      if (entry.session !== session) continue
      dropped.push(id)
      await this.#remove(id, entry)
    }
    return dropped
  }

  get memoryBytes(): number {
    return this.#memoryBytes
  }

  async close(): Promise<void> {
    this.#entries.clear()
    await this.#spilling
  }

  #wake(id: string): void {
    for (const wake of this.#waiting.get(id) ?? []) wake()
  }

  async #remove(id: string, entry: Entry): Promise<void> {
    this.#entries.delete(id)
    if (entry.bytes !== undefined) this.#memoryBytes -= entry.bytes.byteLength
    entry.bytes = undefined
    if (entry.file !== undefined) await rm(entry.file, { force: true })
  }

  async #makeRoom(): Promise<void> {
    if (this.#memoryBytes <= this.#memoryBytesMax) return
    const spilled = this.#spilling.then(() => this.#spill())
    this.#spilling = spilled.catch(() => {})
    await spilled
  }

  /** The least recently used go to disk until the budget holds; a file once written stays good. */
  async #spill(): Promise<void> {
    for (const entry of this.#entries.values()) {
      if (this.#memoryBytes <= this.#memoryBytesMax) return
      const { bytes } = entry
      if (bytes === undefined) continue
      if (entry.file === undefined) {
        const file = join(this.#directory, `broadcast-${this.#fileSeq++}`)
        try {
          await writeFile(file, new Uint8Array(bytes))
        } catch (error) {
          await rm(file, { force: true })
          throw spillFailure(this.#peer, 'write', error)
        }
        if (entry.bytes === undefined) {
          // Dropped while it was written.
          await rm(file, { force: true })
          continue
        }
        entry.file = file
      }
      entry.bytes = undefined
      this.#memoryBytes -= bytes.byteLength
    }
  }
}

/** Of a body: small enough that other streams of the connection get in between. */
const PIECE_BYTES = 256 * 1024

async function readWhole({ ref, file }: Entry): Promise<SharedMemory | undefined> {
  const bytes = new Uint8Array(new SharedArrayBuffer(ref.sizeBytes))
  for (let chunk = 0; chunk < chunkCount(ref); chunk++) {
    const start = chunk * BROADCAST.chunkBytes
    const part = await readPart(file, start, Math.min(start + BROADCAST.chunkBytes, ref.sizeBytes))
    if (part === undefined) return undefined
    bytes.set(part, start)
    if (!isChunkGood(ref, bytes, chunk)) return undefined
  }
  return bytes
}

async function readPart(
  file: string | undefined,
  start: number,
  end: number,
): Promise<Uint8Array | undefined> {
  // Gone when it was dropped a moment ago.
  const handle = file === undefined ? undefined : await open(file, 'r').catch(() => undefined)
  if (handle === undefined) return undefined
  try {
    const part = new Uint8Array(end - start)
    for (let filled = 0; filled < part.byteLength;) {
      const { bytesRead } = await handle.read(part, filled, part.byteLength - filled, start + filled)
      if (bytesRead === 0) return undefined
      filled += bytesRead
    }
    return part
  } finally {
    await handle.close()
  }
}
