import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { asBlockId, ShoalError, type BlockId } from '../base/index.ts'
import { loadChecksums, readBlockFiles } from './block-file-reader.ts'
import { writeBlockFiles } from './block-file-writer.ts'
import { CHECKSUMS_SUFFIX, corruptReplica, type BlockChecksums } from './block-file.ts'
import { BLOCK_ID_PATTERN } from './block-id.ts'
import { blockDataPath, fanOf, fansOf } from './block-paths.ts'
import type {
  BlockReadOptions,
  BlockStore,
  BlockVerifyOptions,
  BlockWriteOptions,
  StoredBlock,
  StoreListener,
  StoreUsage,
} from './block-store.ts'
import { BLOCK_STORE_DEFAULTS, type BlockStoreOptions } from './config.ts'
import { PROBE_PREFIX, StoreDisk } from './store-disk.ts'
import type { StoreFs } from './store-fs.ts'

export interface DiskBlockStoreOptions extends Partial<BlockStoreOptions> {
  /** Holds `blocks/`, `tmp/`, `trash/` and `bad/`; made when missing. Only one store may have it open: the caller locks it. */
  directory: string
  /** Named in errors. */
  peer: string
  /** @default node:fs/promises */
  fs?: StoreFs
}

interface Entry {
  sizeBytes: number
  /** Wall clock, from the time of the checksum file. */
  verifiedMs: number
}

/** Files looked at together while opening. */
const SCAN_PARALLEL = 16

/**
 * Blocks in `blocks/<two hex digits of the id's hash>/<block id>` with `….sum` beside each; bad ones in `bad/<block id>`.
 *
 * A write goes to `tmp/`; when all is there, data and checksums are synced, renamed into place (checksums first: data makes a
 * block exist) and the directory is synced. So a crash leaves at worst files in `tmp/` and checksums without data, which
 * opening removes. Deleting renames the data into `trash/` first, for the same reason. The modification time of the
 * checksum file says when the block was last found good.
 */
export class DiskBlockStore implements BlockStore {
  readonly #disk: StoreDisk
  readonly #blockBytesMax: number
  readonly #entries = new Map<BlockId, Entry>()
  readonly #bad = new Set<BlockId>()
  readonly #listeners: StoreListener[] = []
  readonly #writing = new Set<Promise<unknown>>()
  readonly #turns = new Map<BlockId, Promise<void>>()
  readonly #closing = new AbortController()
  #usedBytes = 0
  #tmpCount = 0
  #busy = 0

  /** Makes the directories, removes what a crash left behind, lists the blocks. Rejects with DISK_FAILED. */
  static async open(options: DiskBlockStoreOptions): Promise<DiskBlockStore> {
    const store = new DiskBlockStore(options)
    await store.#disk.do('open', 'store', () => store.#open())
    return store
  }

  private constructor(options: DiskBlockStoreOptions) {
    const { blockBytesMax, ...disk } = { ...BLOCK_STORE_DEFAULTS, ...options }
    this.#disk = new StoreDisk(disk)
    this.#blockBytesMax = blockBytesMax
    this.#disk.onFailure(() => {
      for (const blockId of this.#entries.keys()) this.#leave(blockId)
    })
  }

  get failure(): ShoalError | undefined {
    return this.#disk.failure
  }

  async #open(): Promise<void> {
    const { fs, directory } = this.#disk
    for (const leftover of ['tmp', 'trash']) {
      await fs.rm(join(directory, leftover), { recursive: true, force: true })
      await fs.mkdir(join(directory, leftover), { recursive: true })
    }
    await fs.mkdir(join(directory, 'bad'), { recursive: true })
    for (const name of await fs.readdir(join(directory, 'bad'))) {
      if (BLOCK_ID_PATTERN.test(name)) this.#bad.add(asBlockId(name))
    }
    const fans = fansOf(directory)
    for (const fan of fans) await fs.mkdir(fan, { recursive: true })
    await this.#disk.syncDirectory(join(directory, 'blocks'))
    await this.#disk.syncDirectory(directory)
    const waiting = fans.values()
    await Promise.all(
      Array.from({ length: SCAN_PARALLEL }, async () => {
        for (const fan of waiting) await this.#scan(fan)
      }),
    )
  }

  async #scan(fan: string): Promise<void> {
    const { fs } = this.#disk
    const names = new Set(await fs.readdir(fan))
    for (const name of names) {
      if (BLOCK_ID_PATTERN.test(name)) {
        const { size } = await fs.stat(join(fan, name))
        const sums = name + CHECKSUMS_SUFFIX
        // Without its checksums it is corrupt: the scrub must come to it first.
        const verifiedMs = names.has(sums) ? (await fs.stat(join(fan, sums))).mtimeMs : 0
        this.#enter(asBlockId(name), size, verifiedMs)
      } else if (name.endsWith(CHECKSUMS_SUFFIX) && !names.has(name.slice(0, -CHECKSUMS_SUFFIX.length))) {
        await fs.unlink(join(fan, name))
      } else if (name.startsWith(PROBE_PREFIX)) {
        await fs.unlink(join(fan, name))
      }
    }
  }

  async write(
    blockId: BlockId,
    source: AsyncIterable<Uint8Array>,
    options: BlockWriteOptions = {},
  ): Promise<StoredBlock> {
    this.#disk.throwIfFailed()
    const signal = AbortSignal.any([
      this.#closing.signal,
      ...(options.signal === undefined ? [] : [options.signal]),
    ])
    const writing = this.#write(blockId, source, { ...options, signal })
    this.#writing.add(writing)
    this.#busy++
    try {
      return await writing
    } finally {
      this.#busy--
      this.#writing.delete(writing)
    }
  }

  async #write(
    blockId: BlockId,
    source: AsyncIterable<Uint8Array>,
    options: BlockWriteOptions & { signal: AbortSignal },
  ): Promise<StoredBlock> {
    const { fs, directory } = this.#disk
    const path = this.pathOf(blockId)
    const tmp = join(directory, 'tmp', `${blockId}.${this.#tmpCount++}`)
    await using undo = new AsyncDisposableStack()
    // After the renames there is nothing left to remove; on a failing disk removing may fail too, and opening does it later.
    undo.defer(async () => {
      for (const left of [tmp, tmp + CHECKSUMS_SUFFIX]) {
        await fs.rm(left, { force: true }).catch(() => undefined)
      }
    })
    const { expect, signal, sizeBytesMax = this.#blockBytesMax } = options
    const checksums = await writeBlockFiles(this.#disk, blockId, tmp, source, {
      expect,
      sizeBytesMax,
      signal,
    })
    signal.throwIfAborted()
    await this.#inTurn(blockId, async () => {
      await this.#disk.do('rename', blockId, async () => {
        await fs.rename(tmp + CHECKSUMS_SUFFIX, path + CHECKSUMS_SUFFIX)
        await fs.rename(tmp, path)
        await this.#disk.syncDirectory(fanOf(directory, blockId))
      })
      this.#disk.throwIfFailed()
      this.#enter(blockId, checksums.sizeBytes, Date.now())
      await this.release(blockId)
    })
    return { blockId, sizeBytes: checksums.sizeBytes, sha256: checksums.sha256 }
  }

  async *read(blockId: BlockId, options: BlockReadOptions = {}): AsyncGenerator<Uint8Array, void> {
    this.#busy++
    try {
      yield* this.#read(blockId, options)
    } finally {
      this.#busy--
    }
  }

  #read(blockId: BlockId, options: BlockReadOptions): AsyncGenerator<Uint8Array, void> {
    return readBlockFiles(this.#disk, blockId, this.pathOf(blockId), options)
  }

  has(blockId: BlockId): boolean {
    return this.#entries.has(blockId)
  }

  list(): BlockId[] {
    return [...this.#entries.keys()]
  }

  async stat(blockId: BlockId): Promise<StoredBlock | undefined> {
    if (!this.has(blockId)) return undefined
    const { sizeBytes, sha256 } = await this.#checksums(blockId)
    return { blockId, sizeBytes, sha256 }
  }

  async verify(blockId: BlockId, { signal, pace }: BlockVerifyOptions = {}): Promise<StoredBlock> {
    const hash = createHash('sha256')
    for await (const chunk of this.#read(blockId, { signal })) {
      hash.update(chunk)
      await pace?.(chunk.length)
    }
    const { sizeBytes, sha256 } = await this.#checksums(blockId)
    const path = this.pathOf(blockId)
    const { size } = await this.#disk.do('stat', blockId, () => this.#disk.fs.stat(path))
    if (hash.digest('hex') !== sha256 || size !== sizeBytes) {
      throw corruptReplica(blockId, this.#disk.peer, 'its size or SHA-256 is not that of the write')
    }
    // Deleted while it was being read: what is said of it now must hold afterwards.
    const entry = this.#entries.get(blockId)
    if (entry === undefined) {
      throw new ShoalError('NOT_FOUND', { path: blockId }, `block ${blockId} is not on ${this.#disk.peer}`)
    }
    entry.verifiedMs = Date.now()
    const seconds = entry.verifiedMs / 1000
    // Only a note for the time after a restart: without it the block is verified sooner again.
    await this.#disk.fs.utimes(path + CHECKSUMS_SUFFIX, seconds, seconds).catch(() => undefined)
    return { blockId, sizeBytes, sha256 }
  }

  verifiedMs(blockId: BlockId): number | undefined {
    return this.#entries.get(blockId)?.verifiedMs
  }

  async delete(blockId: BlockId): Promise<boolean> {
    // Gone for everybody before the disk is asked: nobody may vouch for it any more.
    if (!this.#leave(blockId)) return false
    const path = this.pathOf(blockId)
    const { fs, directory } = this.#disk
    const trash = join(directory, 'trash', `${blockId}.${this.#tmpCount++}`)
    await this.#inTurn(blockId, async () => {
      // Written anew meanwhile: the old bytes are gone, and the new ones nobody wanted deleted.
      if (this.has(blockId)) return
      await this.#disk.do('delete', blockId, async () => {
        await fs.rename(path, trash)
        await fs.rm(path + CHECKSUMS_SUFFIX, { force: true })
        await fs.unlink(trash)
      })
    })
    return true
  }

  async quarantine(blockId: BlockId): Promise<boolean> {
    if (!this.#leave(blockId)) return false
    const path = this.pathOf(blockId)
    const aside = join(this.#disk.directory, 'bad', blockId)
    const { fs, directory } = this.#disk
    await this.#inTurn(blockId, async () => {
      if (this.has(blockId)) return
      this.#bad.add(blockId)
      await this.#disk.do('put aside', blockId, async () => {
        await fs.rename(path, aside)
        // Missing checksums may be what is wrong with it.
        await fs.rename(path + CHECKSUMS_SUFFIX, aside + CHECKSUMS_SUFFIX).catch(() => undefined)
        await this.#disk.syncDirectory(fanOf(directory, blockId))
      })
    })
    return true
  }

  quarantined(): BlockId[] {
    return [...this.#bad]
  }

  async release(blockId: BlockId): Promise<void> {
    if (!this.#bad.delete(blockId)) return
    const aside = join(this.#disk.directory, 'bad', blockId)
    for (const path of [aside, aside + CHECKSUMS_SUFFIX]) {
      // On a failing disk it may stay; opening lists it again.
      await this.#disk.fs.rm(path, { force: true }).catch(() => undefined)
    }
  }

  async usage(): Promise<StoreUsage> {
    const freeBytes = await this.#disk.do('measure', 'store', () => this.#disk.freeBytes())
    return { blocks: this.#entries.size, usedBytes: this.#usedBytes, freeBytes }
  }

  busy(): number {
    return this.#busy
  }

  onChange(listener: StoreListener): void {
    for (const [blockId, { sizeBytes }] of this.#entries) listener(blockId, sizeBytes)
    this.#listeners.push(listener)
  }

  async probe(blockId: BlockId): Promise<boolean> {
    return this.#disk.probe(blockId)
  }

  onFailure(listener: (failure: ShoalError) => void): void {
    this.#disk.onFailure(listener)
  }

  pathOf(blockId: BlockId): string {
    return blockDataPath(this.#disk.directory, blockId)
  }

  /** Ends the writes under way, which leave nothing behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new ShoalError('CANCELLED', { what: 'writing a block: the peer is stopping' }))
    await Promise.allSettled(this.#writing)
  }

  #checksums(blockId: BlockId): Promise<BlockChecksums> {
    return loadChecksums(this.#disk, blockId, this.pathOf(blockId))
  }

  /** Renames of one block never overlap. */
  async #inTurn(blockId: BlockId, action: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(blockId) ?? Promise.resolve()).then(action)
    const settled = turn.catch(() => undefined)
    this.#turns.set(blockId, settled)
    try {
      await turn
    } finally {
      if (this.#turns.get(blockId) === settled) this.#turns.delete(blockId)
    }
  }

  #enter(blockId: BlockId, sizeBytes: number, verifiedMs: number): void {
    this.#usedBytes += sizeBytes - (this.#entries.get(blockId)?.sizeBytes ?? 0)
    this.#entries.set(blockId, { sizeBytes, verifiedMs })
    for (const listener of this.#listeners) listener(blockId, sizeBytes)
  }

  /** False when it was not there. */
  #leave(blockId: BlockId): boolean {
    const entry = this.#entries.get(blockId)
    if (entry === undefined) return false
    this.#usedBytes -= entry.sizeBytes
    this.#entries.delete(blockId)
    for (const listener of this.#listeners) listener(blockId, undefined)
    return true
  }
}
