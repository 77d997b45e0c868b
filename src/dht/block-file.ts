import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { ShoalError } from '../base/index.ts'

/**
 * A block on disk is two files: the data, byte for byte, and its checksums beside it. This file knows their format and
 * reads blocks with plain node:fs, so that workers can read local blocks without the store.
 *
 * Checksum file, little endian: magic "SHLB" · version u16 · 0 u16 · bytes per chunk u32 · size of the data u64 ·
 * SHA-256 32 bytes · one CRC-32 u32 per chunk · CRC-32 u32 of all before.
 */
export interface BlockChecksums {
  sizeBytes: number
  /** 64 hexadecimal digits. */
  sha256: string
  /** Bytes that one checksum covers; the last may cover fewer. */
  chunkBytes: number
  crcs: Uint32Array
}

/** Small enough that a ranged read wastes little, large enough that checksums cost 1/16,384 of the data. */
export const CHUNK_BYTES = 64 * 1024
export const CHECKSUMS_SUFFIX = '.sum'
/** Bytes per read call; a whole number of chunks. */
export const READ_BYTES = 4 * CHUNK_BYTES

const MAGIC = 0x424c4853 // "SHLB" as a little-endian u32
const VERSION = 1
const HEAD_BYTES = 52

export function encodeChecksums({ sizeBytes, sha256, chunkBytes, crcs }: BlockChecksums): Uint8Array {
  const bytes = Buffer.alloc(HEAD_BYTES + 4 * crcs.length + 4)
  bytes.writeUInt32LE(MAGIC, 0)
  bytes.writeUInt16LE(VERSION, 4)
  bytes.writeUInt32LE(chunkBytes, 8)
  bytes.writeBigUInt64LE(BigInt(sizeBytes), 12)
  bytes.write(sha256, 20, 'hex')
  for (const [index, crc] of crcs.entries()) bytes.writeUInt32LE(crc, HEAD_BYTES + 4 * index)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4)
  return bytes
}

/** Undefined when the bytes are damaged or of an unknown version: then nothing is known about the data. */
export function decodeChecksums(raw: Uint8Array): BlockChecksums | undefined {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength)
  if (bytes.length < HEAD_BYTES + 4 || bytes.readUInt32LE(0) !== MAGIC || bytes.readUInt16LE(4) !== VERSION) {
    return undefined
  }
  if (crc32(bytes.subarray(0, -4)) !== bytes.readUInt32LE(bytes.length - 4)) return undefined
  const chunkBytes = bytes.readUInt32LE(8)
  const sizeBytes = Number(bytes.readBigUInt64LE(12))
  const count = (bytes.length - HEAD_BYTES - 4) / 4
  if (chunkBytes === 0 || count !== Math.ceil(sizeBytes / chunkBytes)) return undefined
  const crcs = Uint32Array.from({ length: count }, (_, index) => bytes.readUInt32LE(HEAD_BYTES + 4 * index))
  return { sizeBytes, sha256: bytes.toString('hex', 20, HEAD_BYTES), chunkBytes, crcs }
}

/** Part of a block to read, widened to whole chunks, since only those can be checked. */
export interface ChunkSpan {
  start: number
  end: number
  /** Multiple of the chunk size. */
  alignedStart: number
  /** Multiple of the chunk size, or the end of the block. */
  alignedEnd: number
}

export function chunkSpan(checksums: BlockChecksums, start = 0, end = checksums.sizeBytes): ChunkSpan {
  const { sizeBytes, chunkBytes } = checksums
  const to = Math.min(Math.max(end, 0), sizeBytes)
  const from = Math.min(Math.max(start, 0), to)
  return {
    start: from,
    end: to,
    alignedStart: from - (from % chunkBytes),
    alignedEnd:
      from === to ? from - (from % chunkBytes) : Math.min(Math.ceil(to / chunkBytes) * chunkBytes, sizeBytes),
  }
}

/** True when the whole chunks in `bytes`, which begin at `offset` of the block, agree with their checksums. */
export function chunksAgree(checksums: BlockChecksums, bytes: Uint8Array, offset: number): boolean {
  const { chunkBytes, crcs } = checksums
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    if (crc32(bytes.subarray(at, at + chunkBytes)) !== crcs[(offset + at) / chunkBytes]) return false
  }
  return true
}

export interface ReadBlockFileOptions {
  /** First byte. @default 0 */
  start?: number
  /** One past the last byte. @default the end */
  end?: number
  /** Named in errors. */
  block: string
  peer: string
}

/**
 * The verified bytes of a block on the local disk, a chunk (64 KiB) at a time, synchronously: for worker threads only.
 * Each is the reader's to keep. Throws CORRUPT_REPLICA when bytes differ from their checksums, NOT_FOUND when the block is gone,
 * DISK_FAILED when the disk does not answer. Close early by leaving the loop.
 */
export function* readBlockFile(
  dataPath: string,
  { start, end, block, peer }: ReadBlockFileOptions,
): Generator<Uint8Array, void> {
  const file = guarded(block, peer, 'open', () => openSync(dataPath, 'r'))
  try {
    const raw = guarded(block, peer, 'read', () => readFileSync(dataPath + CHECKSUMS_SUFFIX))
    const checksums = decodeChecksums(raw)
    if (checksums === undefined) throw corruptReplica(block, peer, 'its checksum file is damaged')
    const span = chunkSpan(checksums, start, end)
    for (let at = span.alignedStart; at < span.alignedEnd; at += READ_BYTES) {
      const bytes = new Uint8Array(Math.min(READ_BYTES, span.alignedEnd - at))
      const count = guarded(block, peer, 'read', () => readFully(file, bytes, at))
      if (count < bytes.length || !chunksAgree(checksums, bytes, at)) {
        throw corruptReplica(block, peer, `bytes from ${at} differ from their checksums`)
      }
      const wanted = bytes.subarray(Math.max(span.start - at, 0), Math.min(span.end - at, bytes.length))
      for (let from = 0; from < wanted.length; from += CHUNK_BYTES)
        yield wanted.subarray(from, from + CHUNK_BYTES)
    }
  } finally {
    closeSync(file)
  }
}

function readFully(file: number, bytes: Uint8Array, position: number): number {
  let count = 0
  while (count < bytes.length) {
    const read = readSync(file, bytes, count, bytes.length - count, position + count)
    if (read === 0) break
    count += read
  }
  return count
}

export function corruptReplica(block: string, peer: string, reason: string): ShoalError<'CORRUPT_REPLICA'> {
  return new ShoalError(
    'CORRUPT_REPLICA',
    { block, peer },
    `the copy of block ${block} on ${peer} is corrupt: ${reason}`,
  )
}

/** Operations for which a missing file means that there is no such block, rather than a disk that lost a directory. */
const READING: ReadonlySet<string> = new Set(['open', 'read', 'stat'])

/** What the operating system said, as a coded error. */
export function diskError(error: unknown, operation: string, block: string, peer: string): ShoalError {
  if (error instanceof ShoalError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code === 'ENOENT' && READING.has(operation)) {
    return new ShoalError('NOT_FOUND', { path: block }, `block ${block} is not on ${peer}`, { cause: error })
  }
  const reason = error instanceof Error ? error.message : String(error)
  return new ShoalError(
    'DISK_FAILED',
    { peer, operation, reason },
    `the disk of ${peer} failed to ${operation} block ${block}: ${reason}`,
    { cause: error },
  )
}

function guarded<T>(block: string, peer: string, operation: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    throw diskError(error, operation, block, peer)
  }
}
