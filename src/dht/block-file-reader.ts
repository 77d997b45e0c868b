import { hasCode, type BlockId } from '../base/index.ts'
import {
  CHECKSUMS_SUFFIX,
  chunksAgree,
  chunkSpan,
  corruptReplica,
  decodeChecksums,
  READ_BYTES,
  type BlockChecksums,
} from './block-file.ts'
import type { BlockReadOptions } from './block-store.ts'
import { readFully, type StoreDisk } from './store-disk.ts'
import type { StoreFile } from './store-fs.ts'

/** Verified bytes of the block at `path`, about READ_BYTES at a time; the next ones are read while the reader is at these. */
export async function* readBlockFiles(
  disk: StoreDisk,
  blockId: BlockId,
  path: string,
  { start, end, signal }: BlockReadOptions,
): AsyncGenerator<Uint8Array, void> {
  disk.throwIfFailed()
  const file = await disk.do('open', blockId, () => disk.fs.open(path, 'r'))
  let ahead: Promise<Buffer> | undefined
  try {
    const checksums = await loadChecksums(disk, blockId, path)
    const span = chunkSpan(checksums, start, end)
    // A block may have chunks of another size than ours: only whole ones can be checked.
    const stepBytes = Math.max(1, Math.floor(READ_BYTES / checksums.chunkBytes)) * checksums.chunkBytes
    const piece = (at: number): Promise<Buffer> | undefined => {
      if (at >= span.alignedEnd) return undefined
      const reading = readPiece(disk, blockId, file, at, Math.min(stepBytes, span.alignedEnd - at))
      // Thrown when it is its turn; nobody may come to that.
      reading.catch(() => undefined)
      return reading
    }
    ahead = piece(span.alignedStart)
    for (let at = span.alignedStart; ahead !== undefined; at += stepBytes) {
      signal?.throwIfAborted()
      const bytes = await ahead
      ahead = piece(at + stepBytes)
      if (!chunksAgree(checksums, bytes, at)) {
        throw corruptReplica(blockId, disk.peer, `bytes from ${at} differ from their checksums`)
      }
      yield bytes.subarray(Math.max(span.start - at, 0), Math.min(span.end - at, bytes.length))
    }
  } finally {
    // Nobody may close the file under a read.
    await ahead?.catch(() => undefined)
    await file.close()
  }
}

/** Of the block at `path`; CORRUPT_REPLICA when they are damaged, or missing beside data; NOT_FOUND when both are gone. */
export async function loadChecksums(
  disk: StoreDisk,
  blockId: BlockId,
  path: string,
): Promise<BlockChecksums> {
  const raw = await disk
    .do('read', blockId, () => disk.fs.readFile(path + CHECKSUMS_SUFFIX))
    .catch(async (error: unknown) => {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      // Without the data the block was deleted meanwhile.
      await disk.do('stat', blockId, () => disk.fs.stat(path))
      return undefined
    })
  const checksums = raw === undefined ? undefined : decodeChecksums(raw)
  if (checksums === undefined) {
    throw corruptReplica(blockId, disk.peer, 'its checksum file is missing or damaged')
  }
  return checksums
}

/** Whole, or CORRUPT_REPLICA. */
async function readPiece(
  disk: StoreDisk,
  blockId: BlockId,
  file: StoreFile,
  at: number,
  sizeBytes: number,
): Promise<Buffer> {
  // Filled to the last byte or thrown away; zeroing it first would cost as much as checking it.
  const bytes = Buffer.allocUnsafeSlow(sizeBytes)
  const count = await disk.do('read', blockId, () => readFully(file, bytes, at))
  if (count < sizeBytes) throw corruptReplica(blockId, disk.peer, `it ends at byte ${at + count}`)
  return bytes
}
