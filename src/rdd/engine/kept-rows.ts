import { crc32 } from 'node:zlib'
import { ShoalError } from '../../base/errors.ts'
import type { RowEncoder } from '../codec/index.ts'
import type { KeptLevel } from '../storage-level.ts'
import type { KeptKey, KeptPorts, SpillFile } from '../task.ts'
import type { TaskSpill } from './task-spill.ts'

/** Encoded rows are put away in chunks of whole batches of about so many bytes. */
const CHUNK_BYTES = 256 * 1024

/** In files and between peers each chunk has its length and CRC-32 before it: `u32 bytes | u32 crc | batches`. */
export const FRAME_HEAD_BYTES = 8
/** As large as a batch may be, and what is put together with it. */
const FRAME_BYTES_MAX = 0x7fff_ffff

export function frameHead(chunk: Uint8Array): Uint8Array {
  const head = Buffer.alloc(FRAME_HEAD_BYTES)
  head.writeUInt32LE(chunk.length, 0)
  head.writeUInt32LE(crc32(chunk), 4)
  return head
}

/** What the head of a frame says. @throws KEPT_DAMAGED */
export function readFrameHead(head: Uint8Array): { bytes: number; crc: number } {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  const bytes = view.getUint32(0, true)
  if (bytes > FRAME_BYTES_MAX) throw damaged('its length cannot be right')
  return { bytes, crc: view.getUint32(4, true) }
}

/** @throws KEPT_DAMAGED */
export function checkFrame(chunk: Uint8Array, crc: number): Uint8Array {
  if (crc32(chunk) !== crc) throw damaged('it differs from its checksum')
  return chunk
}

/** The chunks of a file of frames, read as they are asked for. @throws KEPT_DAMAGED, and what reading throws */
export function* framedChunks(
  read: (start: number, end: number) => Uint8Array,
  sizeBytes: number,
): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < sizeBytes;) {
    const start = at + FRAME_HEAD_BYTES
    if (start > sizeBytes) throw damaged('it is cut off')
    const { bytes, crc } = readFrameHead(read(at, start))
    at = start + bytes
    if (at > sizeBytes) throw damaged('it is cut off')
    yield checkFrame(read(start, at), crc)
  }
}

export function damaged(reason: string): ShoalError<'KEPT_DAMAGED'> {
  return new ShoalError(
    'KEPT_DAMAGED',
    { reason },
    `a kept partition cannot be read: ${reason}; it is computed again`,
  )
}

/**
 * Puts the rows of one partition away while they are computed: in the peer's memory as long as there is room, then on its
 * disk, as its level allows. What there is no room for at all goes to a file of the attempt, which reads it from there
 * once: no partition is too large to be computed through, and none is computed twice.
 */
export class PartitionKeeper {
  readonly #ports: KeptPorts
  readonly #key: KeptKey
  readonly #level: KeptLevel
  readonly #spill: TaskSpill
  #place: 'memory' | 'disk' | 'scratch'
  readonly #chunks: Uint8Array<SharedArrayBuffer>[] = []
  #file: SpillFile | undefined
  readonly #extents: [start: number, end: number][] = []
  #sizeBytes = 0
  #fileBytes = 0

  constructor(ports: KeptPorts, key: KeptKey, level: KeptLevel, spill: TaskSpill) {
    this.#ports = ports
    this.#key = key
    this.#level = level
    this.#spill = spill
    this.#place = level.memory ? 'memory' : 'disk'
  }

  /** Takes what the encoder has ready, once it is worth it. */
  take(encoder: RowEncoder): Promise<void> | undefined {
    return encoder.encodedBytes < CHUNK_BYTES ? undefined : this.#put(encoder.take())
  }

  /** The rest; what is kept, or could not be, as chunks of whole batches. */
  async finish(encoder: RowEncoder): Promise<Iterable<Uint8Array>> {
    encoder.flush()
    if (encoder.encodedBytes > 0) await this.#put(encoder.take())
    const { sizeBytes, file } = { sizeBytes: this.#sizeBytes, file: this.#file }
    if (this.#place === 'memory') {
      this.#ports.keep({ ...this.#key, level: this.#level, sizeBytes, chunks: this.#chunks })
      return this.#chunks
    }
    if (this.#place === 'scratch') return this.#scratchChunks()
    const path = (file ?? this.#ports.openFile()).seal()
    this.#file = undefined
    const kept = { ...this.#key, level: this.#level, sizeBytes, file: path, fileBytes: this.#fileBytes }
    this.#ports.keep(kept)
    return this.#ports.readFile(kept)
  }

  /** The partition could not be computed: nothing of it stays. What room it had ends with the attempt. */
  abandon(): void {
    if (this.#place === 'disk') this.#file?.close()
    this.#file = undefined
  }

  async #put(chunk: Uint8Array): Promise<void> {
    this.#sizeBytes += chunk.length
    if (this.#place === 'memory') {
      if (await this.#ports.room('memory', this.#key, chunk.length)) {
        const shared = new Uint8Array(new SharedArrayBuffer(chunk.length))
        shared.set(chunk)
        this.#chunks.push(shared)
        return
      }
      this.#place = 'disk'
      for (const earlier of this.#chunks.splice(0)) await this.#write(earlier)
      await this.#ports.room('memory', this.#key, 0)
    }
    await this.#write(chunk)
  }

  async #write(chunk: Uint8Array): Promise<void> {
    const bytes = FRAME_HEAD_BYTES + chunk.length
    if (this.#place === 'disk' && !(this.#level.disk && (await this.#ports.room('disk', this.#key, bytes)))) {
      if (this.#level.pinned === true) throw this.#noRoom()
      const kept = this.#file
      this.#place = 'scratch'
      this.#file = undefined
      if (kept !== undefined) {
        for (const earlier of framedChunks((start, end) => kept.read(start, end), this.#fileBytes))
          this.#writeScratch(earlier)
        kept.close()
        await this.#ports.room('disk', this.#key, 0)
      }
    }
    if (this.#place === 'scratch') {
      this.#writeScratch(chunk)
      return
    }
    this.#file ??= this.#ports.openFile()
    this.#file.append(frameHead(chunk))
    this.#file.append(chunk)
    this.#fileBytes += bytes
  }

  #writeScratch(chunk: Uint8Array): void {
    this.#file ??= this.#spill.open()
    const start = this.#file.append(chunk)
    this.#extents.push([start, start + chunk.length])
    this.#spill.bytes += chunk.length
  }

  *#scratchChunks(): Generator<Uint8Array, void, undefined> {
    const file = this.#file
    if (file === undefined) return
    for (const [start, end] of this.#extents) yield file.read(start, end)
    this.#spill.close(file)
  }

  #noRoom(): ShoalError<'CACHE_FULL'> {
    const { partition } = this.#key
    return new ShoalError(
      'CACHE_FULL',
      { partition, bytes: this.#sizeBytes },
      `partition ${partition} of a local checkpoint has no room among what this peer keeps: unpersist what is not needed, ` +
        `give the peer more (--cache-disk), or use checkpoint(), which saves to mesh files`,
    )
  }
}
