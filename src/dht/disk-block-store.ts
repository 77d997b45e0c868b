import { createHash } from 'node:crypto'
import * as nodeFs from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { asBlockId, hasCode, raceAbort, ShoalError, type AbortOptions, type BlockId } from '../base/index.ts'
import {
  CHECKSUMS_SUFFIX,
  chunksAgree,
  chunkSpan,
  CHUNK_BYTES,
  corruptReplica,
  decodeChecksums,
  diskError,
  encodeChecksums,
  READ_BYTES,
  type BlockChecksums,
} from './block-file.ts'
import { BLOCK_ID_PATTERN } from './block-id.ts'
import type {
  BlockReadOptions,
  BlockStore,
  BlockWriteOptions,
  StoredBlock,
  StoreUsage,
} from './block-store.ts'
import { BLOCK_STORE_DEFAULTS, type BlockStoreOptions } from './config.ts'
import { hashText } from './ring.ts'

/** What the store needs of the file system; tests wrap it to make the disk fail. */
export type StoreFs = Pick<
  typeof nodeFs,
  'open' | 'mkdir' | 'readdir' | 'readFile' | 'rename' | 'rm' | 'stat' | 'statfs' | 'unlink'
>

export interface DiskBlockStoreOptions extends Partial<BlockStoreOptions> {
  /** Holds `blocks/`, `tmp/` and `trash/`; made when missing. Only one store may have it open: the caller locks it. */
  directory: string
  /** Named in errors. */
  peer: string
  /** @default node:fs/promises */
  fs?: StoreFs
}

type FileHandle = nodeFs.FileHandle

/** Directories under `blocks/`, so that none holds more than a few thousand files at a million blocks. */
const FAN_OUT = 256
/** Bytes gathered before they are written: few system calls, and at most twice this per writer in memory. */
const WRITE_BYTES = 2 ** 20
/** Bytes written between two looks at the free space. */
const SPACE_CHECK_BYTES = 16 * 2 ** 20
/** Files looked at together while opening. */
const SCAN_PARALLEL = 16

/**
 * Blocks in `blocks/<two hex digits of the id's hash>/<block id>` with `….sum` beside each.
 *
 * A write goes to `tmp/`; when all is there, data and checksums are synced, renamed into place (checksums first: data makes a
 * block exist) and the directory is synced. So a crash leaves at worst files in `tmp/` and checksums without data, which
 * opening removes. Deleting renames the data into `trash/` first, for the same reason.
 */
export class DiskBlockStore implements BlockStore {
  readonly #options: Required<DiskBlockStoreOptions>
  readonly #fs: StoreFs
  readonly #sizes = new Map<BlockId, number>()
  #usedBytes = 0
  #tmpCount = 0
  readonly #writing = new Set<Promise<unknown>>()
  readonly #closing = new AbortController()

  /** Makes the directories, removes what a crash left behind, lists the blocks. Rejects with DISK_FAILED. */
  static async open(options: DiskBlockStoreOptions): Promise<DiskBlockStore> {
    const store = new DiskBlockStore(options)
    await store.#do('open', 'store', () => store.#open())
    return store
  }

  private constructor(options: DiskBlockStoreOptions) {
    this.#options = { ...BLOCK_STORE_DEFAULTS, fs: nodeFs, ...options }
    this.#fs = this.#options.fs
  }

  async #open(): Promise<void> {
    const { directory } = this.#options
    for (const leftover of ['tmp', 'trash']) {
      await this.#fs.rm(join(directory, leftover), { recursive: true, force: true })
      await this.#fs.mkdir(join(directory, leftover), { recursive: true })
    }
    const fans = Array.from({ length: FAN_OUT }, (_, fan) => join(directory, 'blocks', fanName(fan)))
    for (const fan of fans) await this.#fs.mkdir(fan, { recursive: true })
    await this.#syncDirectory(join(directory, 'blocks'))
    await this.#syncDirectory(directory)
    const waiting = fans.values()
    await Promise.all(
      Array.from({ length: SCAN_PARALLEL }, async () => {
        for (const fan of waiting) await this.#scan(fan)
      }),
    )
  }

  async #scan(fan: string): Promise<void> {
    const names = new Set(await this.#fs.readdir(fan))
    for (const name of names) {
      if (BLOCK_ID_PATTERN.test(name)) {
        const { size } = await this.#fs.stat(join(fan, name))
        this.#enter(asBlockId(name), size)
      } else if (name.endsWith(CHECKSUMS_SUFFIX) && !names.has(name.slice(0, -CHECKSUMS_SUFFIX.length))) {
        await this.#fs.unlink(join(fan, name))
      }
    }
  }

  async write(
    blockId: BlockId,
    source: AsyncIterable<Uint8Array>,
    options: BlockWriteOptions = {},
  ): Promise<StoredBlock> {
    const signal = AbortSignal.any([
      this.#closing.signal,
      ...(options.signal === undefined ? [] : [options.signal]),
    ])
    const writing = this.#write(blockId, source, { ...options, signal })
    this.#writing.add(writing)
    try {
      return await writing
    } finally {
      this.#writing.delete(writing)
    }
  }

  async #write(
    blockId: BlockId,
    source: AsyncIterable<Uint8Array>,
    options: BlockWriteOptions & { signal: AbortSignal },
  ): Promise<StoredBlock> {
    const path = this.pathOf(blockId)
    const tmp = join(this.#options.directory, 'tmp', `${blockId}.${this.#tmpCount++}`)
    await using undo = new AsyncDisposableStack()
    // After the renames there is nothing left to remove; on a failing disk removing may fail too, and opening does it later.
    undo.defer(async () => {
      for (const left of [tmp, tmp + CHECKSUMS_SUFFIX]) {
        await this.#fs.rm(left, { force: true }).catch(() => undefined)
      }
    })
    await this.#do('start', blockId, () => this.#needSpace(options.expect?.sizeBytes ?? 0))
    const data = await this.#do('create', blockId, () => this.#fs.open(tmp, 'wx'))
    let checksums: BlockChecksums
    try {
      checksums = await this.#fill(blockId, data, source, options)
      this.#check(blockId, checksums, options.expect)
      await this.#do('sync', blockId, async () => {
        await Promise.all([data.datasync(), this.#writeChecksums(tmp + CHECKSUMS_SUFFIX, checksums)])
      })
    } finally {
      await data.close().catch(() => undefined)
    }
    options.signal.throwIfAborted()
    await this.#do('rename', blockId, async () => {
      await this.#fs.rename(tmp + CHECKSUMS_SUFFIX, path + CHECKSUMS_SUFFIX)
      await this.#fs.rename(tmp, path)
      await this.#syncDirectory(this.#fanOf(blockId))
    })
    this.#enter(blockId, checksums.sizeBytes)
    return { blockId, sizeBytes: checksums.sizeBytes, sha256: checksums.sha256 }
  }

  /** Writes one batch while the next one is gathered and hashed. */
  async #fill(
    blockId: BlockId,
    data: FileHandle,
    source: AsyncIterable<Uint8Array>,
    options: BlockWriteOptions & { signal: AbortSignal },
  ): Promise<BlockChecksums> {
    const limitBytes = options.sizeBytesMax ?? this.#options.blockBytesMax
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
      underWay = this.#do('write', blockId, () => writeAll(data, full))
      // Awaited by the next flush; until then a rejection must not count as unhandled.
      underWay.catch(() => undefined)
    }
    try {
      for await (const chunk of until(options.signal, source)) {
        if (chunk.length === 0) continue
        if (sums.sizeBytes + chunk.length > limitBytes) {
          throw new ShoalError('TOO_LARGE', {
            what: `block ${blockId}`,
            bytes: sums.sizeBytes + chunk.length,
            limitBytes,
          })
        }
        sums.add(chunk)
        batch.push(chunk)
        batchBytes += chunk.length
        if (batchBytes < WRITE_BYTES) continue
        await flush()
        if (sums.sizeBytes - spaceCheckedAt < SPACE_CHECK_BYTES) continue
        spaceCheckedAt = sums.sizeBytes
        await this.#do('write', blockId, () => this.#needSpace(0))
      }
      options.signal.throwIfAborted()
      if (batch.length > 0) await flush()
    } finally {
      // Nobody may close the file under a write.
      await underWay.catch(() => undefined)
    }
    await underWay
    return sums.finish()
  }

  #check(blockId: BlockId, found: BlockChecksums, expect: BlockWriteOptions['expect']): void {
    if (expect?.sizeBytes !== undefined && expect.sizeBytes !== found.sizeBytes) {
      throw corruptReplica(
        blockId,
        this.#options.peer,
        `${found.sizeBytes} bytes came instead of ${expect.sizeBytes}`,
      )
    }
    if (expect?.sha256 !== undefined && expect.sha256 !== found.sha256) {
      throw corruptReplica(blockId, this.#options.peer, 'the bytes that came have another SHA-256')
    }
  }

  async #writeChecksums(path: string, checksums: BlockChecksums): Promise<void> {
    await using file = await this.#fs.open(path, 'wx')
    await writeAll(file, [encodeChecksums(checksums)])
    await file.datasync()
  }

  async *read(
    blockId: BlockId,
    { start, end, signal }: BlockReadOptions = {},
  ): AsyncGenerator<Uint8Array, void> {
    const path = this.pathOf(blockId)
    const file = await this.#do('open', blockId, () => this.#fs.open(path, 'r'))
    try {
      const checksums = await this.#checksums(blockId)
      const span = chunkSpan(checksums, start, end)
      // A block may have chunks of another size than ours: whole chunks, about READ_BYTES at a time.
      const stepBytes = Math.max(1, Math.floor(READ_BYTES / checksums.chunkBytes)) * checksums.chunkBytes
      for (let at = span.alignedStart; at < span.alignedEnd; at += stepBytes) {
        signal?.throwIfAborted()
        const bytes = new Uint8Array(Math.min(stepBytes, span.alignedEnd - at))
        const count = await this.#do('read', blockId, () => readFully(file, bytes, at))
        if (count < bytes.length || !chunksAgree(checksums, bytes, at)) {
          throw corruptReplica(blockId, this.#options.peer, `bytes from ${at} differ from their checksums`)
        }
        yield bytes.subarray(Math.max(span.start - at, 0), Math.min(span.end - at, bytes.length))
      }
    } finally {
      await file.close()
    }
  }

  has(blockId: BlockId): boolean {
    return this.#sizes.has(blockId)
  }

  list(): BlockId[] {
    return [...this.#sizes.keys()]
  }

  async stat(blockId: BlockId): Promise<StoredBlock | undefined> {
    if (!this.has(blockId)) return undefined
    const { sizeBytes, sha256 } = await this.#checksums(blockId)
    return { blockId, sizeBytes, sha256 }
  }

  async verify(blockId: BlockId, options: AbortOptions = {}): Promise<StoredBlock> {
    const hash = createHash('sha256')
    for await (const chunk of this.read(blockId, options)) hash.update(chunk)
    const { sizeBytes, sha256 } = await this.#checksums(blockId)
    const { size } = await this.#do('stat', blockId, () => this.#fs.stat(this.pathOf(blockId)))
    if (hash.digest('hex') !== sha256 || size !== sizeBytes) {
      throw corruptReplica(blockId, this.#options.peer, 'its size or SHA-256 is not that of the write')
    }
    return { blockId, sizeBytes, sha256 }
  }

  async delete(blockId: BlockId): Promise<boolean> {
    if (!this.has(blockId)) return false
    const path = this.pathOf(blockId)
    const trash = join(this.#options.directory, 'trash', `${blockId}.${this.#tmpCount++}`)
    await this.#do('delete', blockId, async () => {
      await this.#fs.rename(path, trash)
      this.#leave(blockId)
      await this.#fs.rm(path + CHECKSUMS_SUFFIX, { force: true })
      await this.#fs.unlink(trash)
    })
    return true
  }

  async usage(): Promise<StoreUsage> {
    const freeBytes = await this.#do('measure', 'store', () => this.#freeBytes())
    return { blocks: this.#sizes.size, usedBytes: this.#usedBytes, freeBytes }
  }

  pathOf(blockId: BlockId): string {
    return join(this.#fanOf(blockId), blockId)
  }

  /** Ends the writes under way, which leave nothing behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new ShoalError('CANCELLED', { what: 'writing a block: the peer is stopping' }))
    await Promise.allSettled(this.#writing)
  }

  async #checksums(blockId: BlockId): Promise<BlockChecksums> {
    const path = this.pathOf(blockId) + CHECKSUMS_SUFFIX
    const raw = await this.#do('read', blockId, () => this.#fs.readFile(path)).catch((error: unknown) => {
      if (hasCode(error, 'NOT_FOUND') && this.has(blockId)) return undefined
      throw error
    })
    const checksums = raw === undefined ? undefined : decodeChecksums(raw)
    if (checksums === undefined) {
      throw corruptReplica(blockId, this.#options.peer, 'its checksum file is missing or damaged')
    }
    return checksums
  }

  #fanOf(blockId: BlockId): string {
    return fanOf(this.#options.directory, blockId)
  }

  #enter(blockId: BlockId, sizeBytes: number): void {
    this.#leave(blockId)
    this.#sizes.set(blockId, sizeBytes)
    this.#usedBytes += sizeBytes
  }

  #leave(blockId: BlockId): void {
    this.#usedBytes -= this.#sizes.get(blockId) ?? 0
    this.#sizes.delete(blockId)
  }

  async #freeBytes(): Promise<number> {
    const { bavail, bsize } = await this.#fs.statfs(this.#options.directory)
    return bavail * bsize
  }

  async #needSpace(sizeBytes: number): Promise<void> {
    const freeBytes = await this.#freeBytes()
    if (freeBytes - sizeBytes < this.#options.diskReserveBytes) throw this.#diskFull(freeBytes)
  }

  #diskFull(freeBytes: number, cause?: unknown): ShoalError {
    const { peer } = this.#options
    const text = `the disk of ${peer} is full (${freeBytes} bytes free); make room or add a peer`
    return new ShoalError('DISK_FULL', { peer, freeBytes }, text, { cause })
  }

  async #syncDirectory(path: string): Promise<void> {
    await using directory = await this.#fs.open(path, 'r')
    await directory.sync()
  }

  /** Turns what the disk says into coded errors. */
  async #do<T>(operation: string, block: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'ENOSPC' || code === 'EDQUOT') throw this.#diskFull(0, error)
      throw diskError(error, operation, block, this.#options.peer)
    }
  }
}

/** Checksums of a block while its bytes come by in pieces of any size. */
class RunningChecksums {
  readonly #hash = createHash('sha256')
  readonly #crcs: number[] = []
  #crc = 0
  sizeBytes = 0

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    for (let at = 0; at < bytes.length;) {
      const room = CHUNK_BYTES - (this.sizeBytes % CHUNK_BYTES)
      const part = bytes.subarray(at, at + room)
      this.#crc = crc32(part, this.#crc)
      this.sizeBytes += part.length
      at += part.length
      if (this.sizeBytes % CHUNK_BYTES === 0) this.#endChunk()
    }
  }

  finish(): BlockChecksums {
    if (this.sizeBytes % CHUNK_BYTES !== 0) this.#endChunk()
    const { sizeBytes } = this
    return {
      sizeBytes,
      sha256: this.#hash.digest('hex'),
      chunkBytes: CHUNK_BYTES,
      crcs: Uint32Array.from(this.#crcs),
    }
  }

  #endChunk(): void {
    this.#crcs.push(this.#crc)
    this.#crc = 0
  }
}

/** Where the data of a block is, or would be; for readers without the store (see block-file.ts). */
export function blockDataPath(directory: string, blockId: BlockId): string {
  return join(fanOf(directory, blockId), blockId)
}

function fanOf(directory: string, blockId: BlockId): string {
  // Only ids of this form ever become file names, whatever a remote peer calls its blocks.
  if (!BLOCK_ID_PATTERN.test(blockId))
    throw new ShoalError('BAD_MESSAGE', { type: 'block id', reason: blockId })
  return join(directory, 'blocks', fanName(hashText(blockId) % FAN_OUT))
}

function fanName(fan: number): string {
  return fan.toString(16).padStart(2, '0')
}

/** `writev` may write less than it was given. */
async function writeAll(file: FileHandle, chunks: Uint8Array[]): Promise<void> {
  for (let first = 0; first < chunks.length;) {
    let { bytesWritten } = await file.writev(first === 0 ? chunks : chunks.slice(first))
    while (first < chunks.length && bytesWritten >= chunks[first]!.length)
      bytesWritten -= chunks[first++]!.length
    if (bytesWritten > 0) chunks[first] = chunks[first]!.subarray(bytesWritten)
  }
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

async function readFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let count = 0
  while (count < bytes.length) {
    const { bytesRead } = await file.read(bytes, count, bytes.length - count, position + count)
    if (bytesRead === 0) break
    count += bytesRead
  }
  return count
}
