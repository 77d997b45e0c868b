import { raceAbort, ShoalError, type BlockId } from '../base/index.ts'
import { CHECKSUMS_SUFFIX, corruptReplica, encodeChecksums, type BlockChecksums } from './block-file.ts'
import type { BlockWriteOptions } from './block-store.ts'
import { RunningChecksums } from './running-checksums.ts'
import { writeAll, type StoreDisk } from './store-disk.ts'
import type { StoreFile } from './store-fs.ts'

export interface BlockFileOptions {
  expect: BlockWriteOptions['expect']
  sizeBytesMax: number
  signal: AbortSignal
}

/** Bytes gathered before they are written: few system calls, and at most twice this per writer in memory. */
const WRITE_BYTES = 2 ** 20
/** Bytes written between two looks at the free space. */
const SPACE_CHECK_BYTES = 16 * 2 ** 20

/** Writes data and checksums to new files at `path` and beside it, both synced; what it leaves when it fails the caller removes. */
export async function writeBlockFiles(
  disk: StoreDisk,
  blockId: BlockId,
  path: string,
  source: AsyncIterable<Uint8Array>,
  options: BlockFileOptions,
): Promise<BlockChecksums> {
  await disk.do('start', blockId, () => disk.needSpace(options.expect?.sizeBytes ?? 0))
  const data = await disk.do('create', blockId, () => disk.fs.open(path, 'wx'))
  try {
    const checksums = await fill(disk, blockId, data, source, options)
    check(blockId, disk.peer, checksums, options.expect)
    await disk.do('sync', blockId, async () => {
      await Promise.all([data.datasync(), writeChecksums(disk, path + CHECKSUMS_SUFFIX, checksums)])
    })
    return checksums
  } finally {
    await data.close().catch(() => undefined)
  }
}

/** Writes one batch while the next one is gathered and hashed. */
async function fill(
  disk: StoreDisk,
  blockId: BlockId,
  data: StoreFile,
  source: AsyncIterable<Uint8Array>,
  { sizeBytesMax, signal }: BlockFileOptions,
): Promise<BlockChecksums> {
  const sums = new RunningChecksums()
  let batch: Uint8Array[] = []
  let batchBytes = 0
  let spaceCheckedAt = 0
  let underWay: Promise<unknown> = Promise.resolve()
  const flush = async (): Promise<void> => {
    await underWay
    const full = batch
    batch = []
    batchBytes = 0
    underWay = disk.do('write', blockId, () => writeAll(data, full))
    // Awaited by the next flush; until then a rejection must not count as unhandled.
    underWay.catch(() => undefined)
  }
  try {
    for await (const chunk of until(signal, source)) {
      if (chunk.length === 0) continue
      if (sums.sizeBytes + chunk.length > sizeBytesMax) {
        throw new ShoalError('TOO_LARGE', {
          what: `block ${blockId}`,
          bytes: sums.sizeBytes + chunk.length,
          limitBytes: sizeBytesMax,
        })
      }
      sums.add(chunk)
      batch.push(chunk)
      batchBytes += chunk.length
      if (batchBytes < WRITE_BYTES) continue
      await flush()
      if (sums.sizeBytes - spaceCheckedAt < SPACE_CHECK_BYTES) continue
      spaceCheckedAt = sums.sizeBytes
      await disk.do('write', blockId, () => disk.needSpace(0))
    }
    signal.throwIfAborted()
    if (batch.length > 0) await flush()
  } finally {
    // Nobody may close the file under a write.
    await underWay.catch(() => undefined)
  }
  await underWay
  return sums.finish()
}

function check(
  blockId: BlockId,
  peer: string,
  found: BlockChecksums,
  expect: BlockWriteOptions['expect'],
): void {
  if (expect?.sizeBytes !== undefined && expect.sizeBytes !== found.sizeBytes) {
    throw corruptReplica(blockId, peer, `${found.sizeBytes} bytes came instead of ${expect.sizeBytes}`)
  }
  if (expect?.sha256 !== undefined && expect.sha256 !== found.sha256) {
    throw corruptReplica(blockId, peer, 'the bytes that came have another SHA-256')
  }
}

async function writeChecksums(disk: StoreDisk, path: string, checksums: BlockChecksums): Promise<void> {
  await using file = await disk.fs.open(path, 'wx')
  await writeAll(file, [encodeChecksums(checksums)])
  await file.datasync()
}

/** The source's chunks until the signal aborts, even while the source is silent. */
async function* until(
  signal: AbortSignal,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const iterator = source[Symbol.asyncIterator]()
  let done = false
  try {
    for (;;) {
      const next = await raceAbort(iterator.next(), signal)
      done = next.done === true
      if (next.done === true) return
      yield next.value
    }
  } catch (error) {
    done ||= !signal.aborted
    throw error
  } finally {
    // Not awaited: a source that is silent may also be slow to stop.
    if (!done) iterator.return?.().catch(() => undefined)
  }
}
