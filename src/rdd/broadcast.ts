import { createHash } from 'node:crypto'
import { ShoalError } from '../base/errors.ts'
import { SharedHandle, type ShippedHandle } from './closure/index.ts'
import { BROADCAST } from './shared-config.ts'

/** A broadcast as plans name it. */
export interface BroadcastRef {
  /** Unique in the mesh, for ever. */
  id: string
  sizeBytes: number
  /** SHA-256 of each piece of `BROADCAST.chunkBytes`, one after the other. */
  chunks: Uint8Array
}

/** What the requester has of it: the bytes, and how often they have been called back from the peers. */
export interface BroadcastSource {
  ref: BroadcastRef
  /** Counts `unpersist()`: copies of an earlier one are dropped, later ones stay. */
  generation: number
  bytes: Uint8Array
}

interface BroadcastOwner {
  /** Copies up to this generation are to go. */
  drop(ref: BroadcastRef, generation: number, destroyed: boolean): void
}

/**
 * A read-only value that every peer has one copy of, rather than every closure. Functions read it as `b.value`; what they
 * capture is the handle. The value is taken when it is made: later changes of it stay here.
 */
export class Broadcast<T> extends SharedHandle {
  readonly id: string
  readonly sizeBytes: number
  readonly #owner: BroadcastOwner
  readonly #ref: BroadcastRef
  #value: T | undefined
  #bytes: Uint8Array | undefined
  #generation = 0

  /** Made by `context.broadcast(value)`. */
  constructor(options: { id: string; value: T; bytes: Uint8Array; owner: BroadcastOwner }) {
    super()
    const { id, value, bytes, owner } = options
    this.id = id
    this.sizeBytes = bytes.byteLength
    this.#owner = owner
    this.#value = value
    this.#bytes = bytes
    this.#ref = { id, sizeBytes: bytes.byteLength, chunks: chunkHashes(bytes) }
  }

  /** @throws BROADCAST_DESTROYED */
  get value(): T {
    this.#source()
    return this.#value as T
  }

  /** Drops the copies of all peers; the next job that uses it sends it anew. */
  unpersist(): void {
    const { ref, generation } = this.#source()
    this.#generation += 1
    this.#owner.drop(ref, generation, false)
  }

  /** Drops it everywhere, for ever: jobs that use it from now on fail. Doing so again does nothing. */
  destroy(): void {
    if (this.#bytes === undefined) return
    this.#bytes = undefined
    this.#value = undefined
    this.#owner.drop(this.#ref, this.#generation, true)
  }

  /** Undefined when it is destroyed. */
  source(): BroadcastSource | undefined {
    return this.#bytes === undefined ? undefined : this.#source()
  }

  override shipped(): ShippedHandle {
    this.#source()
    return { what: 'broadcast', of: undefined }
  }

  get ref(): BroadcastRef {
    return this.#ref
  }

  #source(): BroadcastSource {
    if (this.#bytes === undefined) throw destroyed(this.id)
    return { ref: this.#ref, generation: this.#generation, bytes: this.#bytes }
  }
}

export function destroyed(id: string): ShoalError<'BROADCAST_DESTROYED'> {
  return new ShoalError(
    'BROADCAST_DESTROYED',
    { broadcast: id },
    `broadcast ${id} was destroyed; make a new one with broadcast(value)`,
  )
}

const HASH_BYTES = 32

export function chunkHashes(bytes: Uint8Array): Uint8Array {
  const count = Math.ceil(bytes.byteLength / BROADCAST.chunkBytes)
  const hashes = new Uint8Array(count * HASH_BYTES)
  for (let i = 0; i < count; i++) hashes.set(hashOfChunk(bytes, i), i * HASH_BYTES)
  return hashes
}

/** How many pieces it has. @throws BAD_MESSAGE when its hashes are not of as many */
export function chunkCount({ id, sizeBytes, chunks }: BroadcastRef): number {
  const count = Math.ceil(sizeBytes / BROADCAST.chunkBytes)
  if (chunks.byteLength === count * HASH_BYTES) return count
  const reason = `${chunks.byteLength} bytes of hashes for ${count} pieces`
  throw new ShoalError('BAD_MESSAGE', { type: 'broadcast', reason }, `broadcast ${id} has ${reason}`)
}

/** True when piece `chunk` of these bytes is what it should be. */
export function isChunkGood(ref: BroadcastRef, bytes: Uint8Array, chunk: number): boolean {
  const wanted = ref.chunks.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES)
  return Buffer.compare(hashOfChunk(bytes, chunk), wanted) === 0
}

function hashOfChunk(bytes: Uint8Array, chunk: number): Uint8Array {
  const start = chunk * BROADCAST.chunkBytes
  return createHash('sha256')
    .update(bytes.subarray(start, start + BROADCAST.chunkBytes))
    .digest()
}
