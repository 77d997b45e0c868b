import * as nodeFs from 'node:fs/promises'
import { join } from 'node:path'
import { asBlockId, ShoalError } from '../base/index.ts'
import { diskError } from './block-file.ts'
import { BLOCK_ID_PATTERN } from './block-id.ts'
import { fanOf, fansOf } from './block-paths.ts'
import type { StoreFile, StoreFs } from './store-fs.ts'

export interface StoreDiskOptions {
  /** Holds `blocks/`, `tmp/`, `trash/` and `bad/`. */
  directory: string
  /** Named in errors. */
  peer: string
  /** Free space never given to blocks. */
  diskReserveBytes: number
  /** @default node:fs/promises */
  fs?: StoreFs
}

const PROBE_BYTES = 4096
/** A crash may leave one behind among the blocks. */
export const PROBE_PREFIX = 'probe.'

/** The disk under a block store: its answers as coded errors, its free space, and whether it works at all. */
export class StoreDisk {
  readonly fs: StoreFs
  readonly directory: string
  readonly peer: string
  readonly #reserveBytes: number
  readonly #listeners: ((failure: ShoalError) => void)[] = []
  #failure: ShoalError | undefined
  #probing: Promise<boolean> | undefined
  #probes = 0

  constructor({ directory, peer, diskReserveBytes, fs = nodeFs }: StoreDiskOptions) {
    this.fs = fs
    this.directory = directory
    this.peer = peer
    this.#reserveBytes = diskReserveBytes
  }

  /** Why the disk as a whole is given up; it stays so until the peer is started again. */
  get failure(): ShoalError | undefined {
    return this.#failure
  }

  onFailure(listener: (failure: ShoalError) => void): void {
    this.#listeners.push(listener)
  }

  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  /** What the disk says, as DISK_FULL, NOT_FOUND or DISK_FAILED; after the last it is tried as a whole. */
  async do<T>(operation: string, block: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'ENOSPC' || code === 'EDQUOT') throw this.#full(0, error)
      const coded = diskError(error, operation, block, this.peer)
      if (coded.code === 'DISK_FAILED') await this.probe(block)
      throw coded
    }
  }

  /**
   * Takes a small file the way of a block: written and synced in `tmp/`, moved among the blocks, that folder synced, and read. True when
   * all of it works, so that an error was of one file only. A full disk works. False sets `failure`, for good.
   * @param block in whose folder an error was seen; else any folder will do
   */
  async probe(block = ''): Promise<boolean> {
    if (this.#failure !== undefined) return false
    this.#probing ??= this.#probe(block).finally(() => {
      this.#probing = undefined
    })
    return this.#probing
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await this.fs.statfs(this.directory)
    return bavail * bsize
  }

  /** Throws DISK_FULL when no more than the reserve would be left. */
  async needSpace(sizeBytes: number): Promise<void> {
    const freeBytes = await this.freeBytes()
    if (freeBytes - sizeBytes < this.#reserveBytes) throw this.#full(freeBytes)
  }

  async syncDirectory(path: string): Promise<void> {
    await using directory = await this.fs.open(path, 'r')
    await directory.sync()
  }

  async #probe(block: string): Promise<boolean> {
    const name = `${PROBE_PREFIX}${this.#probes++}`
    const draft = join(this.directory, 'tmp', name)
    const folder = BLOCK_ID_PATTERN.test(block)
      ? fanOf(this.directory, asBlockId(block))
      : fansOf(this.directory)[0]!
    const path = join(folder, name)
    try {
      {
        await using file = await this.fs.open(draft, 'wx')
        await writeAll(file, [new Uint8Array(PROBE_BYTES).fill(0x5a)])
        await file.datasync()
      }
      await this.fs.rename(draft, path)
      await this.syncDirectory(folder)
      const read = await this.fs.readFile(path)
      if (read.length !== PROBE_BYTES || read.some(byte => byte !== 0x5a)) {
        throw new Error('it gave other bytes back than were written')
      }
      return true
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'ENOSPC' || code === 'EDQUOT') return true
      const reason = error instanceof Error ? error.message : String(error)
      const failure = new ShoalError(
        'DISK_FAILED',
        { peer: this.peer, operation: 'work at all', reason },
        `the block store of ${this.peer} has failed (${reason}): its copies count as lost and are made elsewhere; ` +
          `replace the disk and start the peer again`,
        { cause: error },
      )
      this.#failure = failure
      for (const listener of this.#listeners) listener(failure)
      return false
    } finally {
      for (const left of [draft, path]) await this.fs.rm(left, { force: true }).catch(() => undefined)
    }
  }

  #full(freeBytes: number, cause?: unknown): ShoalError {
    const { peer } = this
    const text = `the disk of ${peer} is full (${freeBytes} bytes free); make room or add a peer`
    return new ShoalError('DISK_FULL', { peer, freeBytes }, text, { cause })
  }
}

/** `writev` may write less than it was given. */
export async function writeAll(file: StoreFile, chunks: Uint8Array[]): Promise<void> {
  for (let first = 0; first < chunks.length;) {
    let { bytesWritten } = await file.writev(first === 0 ? chunks : chunks.slice(first))
    while (first < chunks.length && bytesWritten >= chunks[first]!.length)
      bytesWritten -= chunks[first++]!.length
    if (bytesWritten > 0) chunks[first] = chunks[first]!.subarray(bytesWritten)
  }
}

/** Bytes read; fewer than asked for only at the end of the file. */
export async function readFully(file: StoreFile, bytes: Uint8Array, position: number): Promise<number> {
  let count = 0
  while (count < bytes.length) {
    const { bytesRead } = await file.read(bytes, count, bytes.length - count, position + count)
    if (bytesRead === 0) break
    count += bytesRead
  }
  return count
}
