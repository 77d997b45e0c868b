import {
  asFileId,
  below,
  hasCode,
  raceAbort,
  ShoalError,
  withDeadline,
  type AbortOptions,
  type FileId,
  type Random,
} from '../base/index.ts'
import type { BlockRange } from './block-reader.ts'
import { blockIdOf } from './block-id.ts'
import { BlockWriter, type ReplicaSink, type WrittenBlock } from './block-writer.ts'
import { REPLICATION, type FileOptions } from './config.ts'
import { accepted, forget, type FileServicePorts } from './file-ports.ts'
import type { BlockReport, BlockStatus, FileFormat } from './namespace-types.ts'
import { Splitter, type SplitPiece } from './splitter.ts'

export interface WriteOptions extends AbortOptions {
  /** Replace the file that is there, at the moment the new one is whole. @default false: ALREADY_EXISTS */
  overwrite?: boolean | undefined
  /** Make missing directories. @default false: NOT_FOUND */
  parents?: boolean | undefined
  /** @default 'lines' */
  format?: FileFormat | undefined
  /** @default 33_554_432 */
  partitionBytes?: number | undefined
  /** Copies wanted, 1–16. @default 3 */
  replication?: number | undefined
  /**
   * Names this upload, so that it can be taken up again when it was interrupted: what is recorded under its lease stays. 1–64 of
   * `[0-9A-Za-z_-]`. @default none: an interrupted write is called off
   */
  token?: string | undefined
  /** With a token: the source begins behind this many partitions, which are recorded already. @default 0: nothing of before is used */
  from?: number | undefined
  /** With a token: keep what is recorded for `resumableLeaseMs`. @default false: for the ordinary lease */
  keep?: boolean | undefined
}

/** A file whose bytes are all safe, but which nobody sees yet: commit or abandon it before its lease ends. */
export interface OpenFile {
  fileId: FileId
  bytes: number
  /** Number of partitions. */
  blockCount: number
  /** Partitions with fewer copies than wanted. */
  degraded: number
}

export interface PutResult {
  fileId: FileId
  /** Of the whole file. */
  bytes: number
  partitions: number
  degraded?: number
  index: number
}

export interface AppendResult extends PutResult {
  /** Bytes that are new. */
  appended: number
}

/** A write as the log granted it. */
interface Opening {
  path: string
  fileId: FileId
  /** Which opening of the write it is: another one since makes everything that this one says void. */
  lease: number
  leaseMs: number
  format: FileFormat
  partitionBytes: number
  replication: number
  /** First partition that is written. */
  from: number
  /** Bytes before it. */
  bytesBefore: number
  /** What the first partition is to begin with: the last one of a file that is added to. */
  prefix?: AsyncIterable<Uint8Array>
  /** Records often, and is not called off when it fails. */
  isResumable: boolean
}

/** Reads one partition of a file, from wherever it is. */
export type ReadBlock = (path: string, block: BlockStatus, range: BlockRange) => AsyncIterable<Uint8Array>

const NEWLINE = 0x0a
/** How long a failed write is tried to be called off in the log; its lease ends it in any case. */
const ABANDON_TIMEOUT_MS = 10_000
/** How long a failed write that may be taken up again tries to keep what it has; then its error is told. */
const SALVAGE_TIMEOUT_MS = 3_000

/**
 * Cuts a stream into partitions and brings each to its owners while it comes in. Memory is bounded by the queues of
 * the blocks under way, whatever the size of file and partitions. Until the commit nothing is visible; a crash leaves
 * garbage that its lease and the orphan collector remove.
 */
export class FileWriter {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #sink: ReplicaSink
  readonly #readBlock: ReadBlock

  constructor(ports: FileServicePorts, options: FileOptions, sink: ReplicaSink, readBlock: ReadBlock) {
    this.#ports = ports
    this.#options = options
    this.#sink = sink
    this.#readBlock = readBlock
  }

  /**
   * Writes and commits a file. What is wrong with the path is reported before the source is touched.
   * Errors: those of the path rules, UNDER_REPLICATED, LEASE_LOST, NO_QUORUM, UNKNOWN_OUTCOME (the commit may or may not have
   * happened), whatever the source throws.
   */
  async put(path: string, source: AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<PutResult> {
    const opened = async (signal: AbortSignal): Promise<Opening> => this.#begin(path, options, signal)
    return this.#write(opened, source, options, async (open, { lease }, signal) => {
      const { fileId, blockCount } = open
      accepted(
        await this.#ports.propose(
          { type: 'commit-file', fileId, blockCount, lease },
          { signal, isStoring: true },
        ),
      )
      return this.#result(open)
    })
  }

  /**
   * Adds to a file, and makes all of it visible at once. The last partition is written again when it is not full or does not end with
   * its line, so that many small additions make no more partitions than one large one. One writer at a time: WRITE_CONFLICT.
   */
  async append(
    path: string,
    source: AsyncIterable<Uint8Array>,
    options: AbortOptions = {},
  ): Promise<AppendResult> {
    let bytesBefore = 0
    const opened = async (signal: AbortSignal): Promise<Opening> => {
      const { opening, sizeBytes } = await this.#beginAppend(path, signal)
      bytesBefore = sizeBytes
      return opening
    }
    return this.#write(opened, source, options, async (open, { lease, from }, signal) => {
      const { fileId, blockCount } = open
      accepted(
        await this.#ports.propose(
          { type: 'commit-file', fileId, blockCount, lease, from },
          { signal, isStoring: true },
        ),
      )
      return { ...this.#result(open), appended: open.bytes - bytesBefore }
    })
  }

  /**
   * Writes a file without committing it, for `commit-output`: the caller keeps the lease alive from here on.
   * @param options.leaseMs counted from the last byte. @default the writer's own lease
   */
  async writeOpen(
    path: string,
    source: AsyncIterable<Uint8Array>,
    options: WriteOptions & { leaseMs?: number } = {},
  ): Promise<OpenFile> {
    const opened = async (signal: AbortSignal): Promise<Opening> => this.#begin(path, options, signal)
    return this.#write(opened, source, options, async (open, _opening, signal) => {
      const leaseMs = options.leaseMs ?? this.#options.leaseMs
      accepted(
        await this.#ports.propose(
          { type: 'extend-lease', fileId: open.fileId, leaseMs },
          { signal, isStoring: true },
        ),
      )
      return open
    })
  }

  #result({ fileId, bytes, blockCount, degraded }: OpenFile): PutResult {
    const result: PutResult = { fileId, bytes, partitions: blockCount, index: this.#ports.appliedIndex() }
    if (degraded > 0) result.degraded = degraded
    return result
  }

  async #begin(path: string, options: WriteOptions, signal: AbortSignal): Promise<Opening> {
    const { overwrite = false, parents = false, format = 'lines', replication = REPLICATION } = options
    const { token, from = 0, keep = false } = options
    const partitionBytes = options.partitionBytes ?? this.#options.partitionBytes
    const leaseMs = token !== undefined && keep ? this.#options.resumableLeaseMs : this.#options.leaseMs
    const fileId = newFileId(this.#ports.random)
    const propose = async (): Promise<{ fileId: FileId; lease: number; blocks: number }> => {
      const file = { path, fileId, leaseMs, overwrite, parents, format, replication, partitionBytes }
      const command = { type: 'begin-file' as const, ...file, ...(token !== undefined && { token }) }
      const granting = this.#ports.propose(command, { signal, isStoring: true })
      const granted = await granting.catch((error: unknown) => {
        // Nobody knows whether the lease was granted; one with a token is taken over by the next try.
        if (token === undefined) this.#abandon(fileId)
        throw error
      })
      return accepted(granted)
    }
    let begun = await propose()
    if (from === 0 && begun.blocks > 0) {
      // Of another cut of the source, or too few to be worth it: begin anew.
      const { fileId: old, lease } = begun
      accepted(
        await this.#ports.propose({ type: 'abandon-file', fileId: old, lease }, { signal, isStoring: true }),
      )
      begun = await propose()
    }
    if (begun.blocks < from) {
      throw new ShoalError(
        'LEASE_LOST',
        { path },
        `of the upload to ${path} ${begun.blocks} partitions are kept, not ${from}; look again and go on from there`,
      )
    }
    const kept = from === 0 ? [] : (this.#ports.namespace().openWrite(begun.fileId)?.blocks ?? [])
    const bytesBefore = kept.reduce((sum, block) => (block.index < from ? sum + block.sizeBytes : sum), 0)
    return {
      path,
      fileId: begun.fileId,
      lease: begun.lease,
      leaseMs,
      format,
      partitionBytes,
      replication,
      from,
      bytesBefore,
      isResumable: token !== undefined,
    }
  }

  async #beginAppend(path: string, signal: AbortSignal): Promise<{ opening: Opening; sizeBytes: number }> {
    const { leaseMs } = this.#options
    const begun = accepted(
      await this.#ports.propose({ type: 'begin-append', path, leaseMs }, { signal, isStoring: true }),
    )
    const { fileId, lease, format, replication, partitions, sizeBytes } = begun
    const partitionBytes = begun.partitionBytes ?? this.#options.partitionBytes
    const opening: Opening = {
      path,
      fileId,
      lease,
      leaseMs,
      format,
      partitionBytes,
      replication,
      from: partitions,
      bytesBefore: sizeBytes,
      isResumable: false,
    }
    try {
      const namespace = this.#ports.namespace()
      const last = namespace.blocksOf(namespace.pathOf(fileId) ?? path).at(-1)
      if (last === undefined || last.index !== partitions - 1) return { opening, sizeBytes }
      const isOpen =
        last.sizeBytes < partitionBytes ||
        !(await this.#endsWithLine(path, last, format, partitionBytes, signal))
      if (last.midLine === true || !isOpen) return { opening, sizeBytes }
      opening.from = last.index
      opening.bytesBefore = last.offset
      opening.prefix = this.#readBlock(path, last, { signal })
      return { opening, sizeBytes }
    } catch (error) {
      this.#abandon(fileId, lease)
      throw error
    }
  }

  async #endsWithLine(
    path: string,
    { sizeBytes, ...block }: BlockStatus,
    format: FileFormat,
    partitionBytes: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (format === 'binary') return true
    // Whether a newline is between quotes, only the whole partition tells.
    if (format === 'csv') return await this.#isCutAtEnd(path, { ...block, sizeBytes }, partitionBytes, signal)
    let lastByte = -1
    for await (const chunk of this.#readBlock(
      path,
      { ...block, sizeBytes },
      { start: sizeBytes - 1, signal },
    ))
      lastByte = chunk.at(-1) ?? lastByte
    return lastByte === NEWLINE
  }

  async #isCutAtEnd(
    path: string,
    block: BlockStatus,
    partitionBytes: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const splitter = new Splitter({ format: 'csv', partitionBytes })
    let isCut = false
    for await (const chunk of this.#readBlock(path, block, { signal })) {
      isCut = splitter.push(chunk).at(-1)?.cut ?? isCut
    }
    return isCut
  }

  async #write<Result>(
    open: (signal: AbortSignal) => Promise<Opening>,
    source: AsyncIterable<Uint8Array>,
    options: AbortOptions,
    commit: (file: OpenFile, opening: Opening, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    options.signal?.throwIfAborted()
    const stop = new AbortController()
    const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal])
    const opening = await open(signal)
    const leaseIndex = this.#ports.appliedIndex()
    const lease = setInterval(() => this.#extendLease(opening, stop), opening.leaseMs / 3)
    lease.unref()
    const stream = new BlockStream({ ...opening, leaseIndex }, this.#ports, this.#options, this.#sink)
    const splitter = new Splitter(opening)
    try {
      if (opening.prefix !== undefined) {
        for await (const chunk of abortable(opening.prefix, signal))
          await stream.write(splitter.push(chunk), signal)
      }
      for await (const chunk of abortable(source, signal)) {
        await stream.write(splitter.push(chunk), signal)
      }
      await stream.write(splitter.finish(), signal)
      return await commit(await stream.end(signal), opening, signal)
    } catch (error) {
      if (opening.isResumable) await stream.salvage()
      else this.#abandon(opening.fileId, opening.lease)
      throw error
    } finally {
      stream.abort()
      clearInterval(lease)
    }
  }

  #extendLease({ fileId, lease, leaseMs }: Opening, stop: AbortController): void {
    const extend = async (): Promise<void> => {
      using deadline = withDeadline('a lease extension', leaseMs / 3, stop.signal)
      accepted(
        await this.#ports.propose({ type: 'extend-lease', fileId, leaseMs, lease }, { signal: deadline }),
      )
    }
    // Without a leader log time stands still, so only a refusal means that the lease is gone.
    extend().catch((error: unknown) => {
      if (hasCode(error, 'LEASE_LOST')) stop.abort(error)
    })
  }

  #abandon(fileId: FileId, lease?: number): void {
    const abandon = async (): Promise<void> => {
      using deadline = withDeadline('calling off a write', ABANDON_TIMEOUT_MS)
      const command = { type: 'abandon-file' as const, fileId, ...(lease !== undefined && { lease }) }
      await this.#ports.propose(command, { signal: deadline })
    }
    forget(abandon())
  }
}

interface FilePlan extends Pick<
  Opening,
  'path' | 'fileId' | 'lease' | 'replication' | 'from' | 'bytesBefore' | 'isResumable'
> {
  leaseIndex: number
}

/** The partitions of one file on their way to their owners: one streamed, the ones before it being synced. */
class BlockStream {
  readonly #file: FilePlan
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #sink: ReplicaSink
  #current: { writer: BlockWriter; index: number } | undefined
  #inFlight: Promise<BlockReport>[] = []
  #reports: BlockReport[] = []
  #next: number
  #bytes: number
  #degraded = 0
  #recordedMs: number
  /** Ends the waiting of blocks that are being synced when the file is given up. */
  readonly #stop = new AbortController()

  constructor(file: FilePlan, ports: FileServicePorts, options: FileOptions, sink: ReplicaSink) {
    this.#file = file
    this.#ports = ports
    this.#options = options
    this.#sink = sink
    this.#next = file.from
    this.#bytes = file.bytesBefore
    this.#recordedMs = ports.clock.nowMs()
  }

  async write(pieces: SplitPiece[], signal: AbortSignal): Promise<void> {
    for (const { bytes, cut, midLine } of pieces) {
      signal.throwIfAborted()
      this.#current ??= this.#open()
      if (bytes.length > 0) await raceAbort(this.#current.writer.write(bytes), signal)
      if (!cut) continue
      this.#close(this.#current, midLine)
      await this.#settle(this.#options.blocksInFlight - 1, signal)
      if (this.#isTimeToRecord()) await this.#record(signal)
    }
  }

  /** Waits until all partitions are safe and recorded under the lease. */
  async end(signal: AbortSignal): Promise<OpenFile> {
    await this.#settle(0, signal)
    if (this.#reports.length > 0) await this.#record(signal)
    const { fileId } = this.#file
    return { fileId, bytes: this.#bytes, blockCount: this.#next, degraded: this.#degraded }
  }

  /** Records what is safe, for whoever takes the write up again; as far as that is possible in a moment. */
  async salvage(): Promise<void> {
    using deadline = withDeadline('recording what is stored', SALVAGE_TIMEOUT_MS)
    try {
      await this.#settle(0, deadline)
    } catch {
      // A block that is not safe, and those behind it, are written again.
    }
    if (this.#reports.length > 0) await this.#record(deadline).catch(() => undefined)
  }

  abort(): void {
    const error = new ShoalError('CANCELLED', { what: `the write of ${this.#file.path}` })
    this.#current?.writer.abort(error)
    this.#stop.abort(error)
  }

  #open(): { writer: BlockWriter; index: number } {
    const index = this.#next++
    const { fileId } = this.#file
    const writeId = hexOf(this.#ports.random, 1)
    const plan = { ...this.#file, index, blockId: blockIdOf(fileId, index, writeId) }
    return { index, writer: new BlockWriter(plan, this.#options, this.#ports, this.#sink) }
  }

  #close({ writer, index }: { writer: BlockWriter; index: number }, midLine: boolean): void {
    this.#current = undefined
    const finished = writer.finish(this.#stop.signal).then(written => this.#report(written, index, midLine))
    forget(finished)
    this.#inFlight.push(finished)
  }

  #report(written: WrittenBlock, index: number, midLine: boolean): BlockReport {
    const { blockId, sizeBytes, sha256, holders, degraded } = written
    this.#bytes += sizeBytes
    if (degraded) this.#degraded++
    return midLine
      ? { index, blockId, sizeBytes, sha256, holders, midLine }
      : { index, blockId, sizeBytes, sha256, holders }
  }

  /** Waits until at most this many blocks are still being synced. */
  async #settle(inFlightMax: number, signal: AbortSignal): Promise<void> {
    while (this.#inFlight.length > inFlightMax) {
      const oldest = this.#inFlight.shift()
      if (oldest !== undefined) this.#reports.push(await raceAbort(oldest, signal))
    }
  }

  #isTimeToRecord(): boolean {
    const { length } = this.#reports
    if (length === 0 || length >= this.#options.blocksPerEntry) return length > 0
    return this.#file.isResumable && this.#ports.clock.nowMs() - this.#recordedMs >= this.#options.recordMs
  }

  async #record(signal: AbortSignal): Promise<void> {
    const blocks = this.#reports
    this.#reports = []
    this.#recordedMs = this.#ports.clock.nowMs()
    const { fileId, lease } = this.#file
    accepted(
      await this.#ports.propose({ type: 'add-blocks', fileId, lease, blocks }, { signal, isStoring: true }),
    )
  }
}

/** The source, ending with the signal's reason even while it is silent. */
async function* abortable(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const iterator = source[Symbol.asyncIterator]()
  let done = false
  try {
    for (;;) {
      signal.throwIfAborted()
      const result = await raceAbort(iterator.next(), signal)
      if (result.done === true) {
        done = true
        return
      }
      yield result.value
    }
  } catch (error) {
    done = !signal.aborted
    throw error
  } finally {
    // Not awaited: a generator that hangs in `next` would hang in `return` too.
    if (!done) forget(iterator.return?.())
  }
}

function newFileId(random: Random): FileId {
  return asFileId(hexOf(random, 4))
}

/** `words` times eight hexadecimal digits. */
function hexOf(random: Random, words: number): string {
  let text = ''
  for (let i = 0; i < words; i++) text += below(random, 0x1_0000_0000).toString(16).padStart(8, '0')
  return text
}
