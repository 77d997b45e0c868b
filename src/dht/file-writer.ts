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
import { blockIdOf } from './block-id.ts'
import { BlockWriter, type ReplicaSink, type WrittenBlock } from './block-writer.ts'
import { REPLICATION, type FileOptions } from './config.ts'
import { accepted, forget, type FileServicePorts } from './file-ports.ts'
import type { BlockReport, FileFormat } from './namespace-types.ts'
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
  bytes: number
  partitions: number
  degraded?: number
  index: number
}

/** How long a failed write is tried to be called off in the log; its lease ends it in any case. */
const ABANDON_TIMEOUT_MS = 10_000

/**
 * Cuts a stream into partitions and brings each to its owners while it comes in. Memory is bounded by the queues of
 * the blocks under way, whatever the size of file and partitions. Until the commit nothing is visible; a crash leaves
 * garbage that its lease and the orphan collector remove.
 */
export class FileWriter {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #sink: ReplicaSink

  constructor(ports: FileServicePorts, options: FileOptions, sink: ReplicaSink) {
    this.#ports = ports
    this.#options = options
    this.#sink = sink
  }

  /**
   * Writes and commits a file. What is wrong with the path is reported before the source is touched.
   * Errors: those of the path rules, UNDER_REPLICATED, LEASE_LOST, NO_QUORUM, UNKNOWN_OUTCOME (the commit may or may not have
   * happened), whatever the source throws.
   */
  async put(path: string, source: AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<PutResult> {
    return this.#write(path, source, options, async (open, signal) => {
      const { fileId, blockCount, bytes, degraded } = open
      accepted(await this.#ports.propose({ type: 'commit-file', fileId, blockCount }, { signal }))
      const result: PutResult = { fileId, bytes, partitions: blockCount, index: this.#ports.appliedIndex() }
      if (degraded > 0) result.degraded = degraded
      return result
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
    return this.#write(path, source, options, async (open, signal) => {
      const leaseMs = options.leaseMs ?? this.#options.leaseMs
      accepted(await this.#ports.propose({ type: 'extend-lease', fileId: open.fileId, leaseMs }, { signal }))
      return open
    })
  }

  async #write<Result>(
    path: string,
    source: AsyncIterable<Uint8Array>,
    options: WriteOptions,
    commit: (open: OpenFile, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    options.signal?.throwIfAborted()
    const fileId = newFileId(this.#ports.random)
    const stop = new AbortController()
    const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal])
    let begun = false
    let lease: NodeJS.Timeout | undefined
    try {
      const { leaseMs } = this.#options
      const { overwrite = false, parents = false, format = 'lines', replication = REPLICATION } = options
      const partitionBytes = options.partitionBytes ?? this.#options.partitionBytes
      // Also when nobody knows whether the lease was granted; not when it was refused.
      begun = true
      const granted = await this.#ports.propose(
        {
          type: 'begin-file',
          path,
          fileId,
          leaseMs,
          overwrite,
          parents,
          format,
          replication,
          partitionBytes,
        },
        { signal },
      )
      begun = granted.ok
      accepted(granted)
      const leaseIndex = this.#ports.appliedIndex()
      lease = setInterval(() => this.#extendLease(fileId, stop), leaseMs / 3)
      lease.unref()
      const stream = new BlockStream(
        { path, fileId, leaseIndex, replication },
        this.#ports,
        this.#options,
        this.#sink,
      )
      const splitter = new Splitter({ format, partitionBytes })
      try {
        for await (const chunk of abortable(source, signal)) {
          await stream.write(splitter.push(chunk), signal)
        }
        await stream.write(splitter.finish(), signal)
        return await commit(await stream.end(signal), signal)
      } finally {
        stream.abort()
      }
    } catch (error) {
      if (begun) this.#abandon(fileId)
      throw error
    } finally {
      clearInterval(lease)
    }
  }

  #extendLease(fileId: FileId, stop: AbortController): void {
    const { leaseMs } = this.#options
    const extend = async (): Promise<void> => {
      using deadline = withDeadline('a lease extension', leaseMs / 3, stop.signal)
      accepted(await this.#ports.propose({ type: 'extend-lease', fileId, leaseMs }, { signal: deadline }))
    }
    // Without a leader log time stands still, so only a refusal means that the lease is gone.
    extend().catch((error: unknown) => {
      if (hasCode(error, 'LEASE_LOST')) stop.abort(error)
    })
  }

  #abandon(fileId: FileId): void {
    const abandon = async (): Promise<void> => {
      using deadline = withDeadline('calling off a write', ABANDON_TIMEOUT_MS)
      await this.#ports.propose({ type: 'abandon-file', fileId }, { signal: deadline })
    }
    forget(abandon())
  }
}

interface FilePlan {
  path: string
  fileId: FileId
  leaseIndex: number
  replication: number
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
  #next = 0
  #bytes = 0
  #degraded = 0
  /** Ends the waiting of blocks that are being synced when the file is given up. */
  readonly #stop = new AbortController()

  constructor(file: FilePlan, ports: FileServicePorts, options: FileOptions, sink: ReplicaSink) {
    this.#file = file
    this.#ports = ports
    this.#options = options
    this.#sink = sink
  }

  async write(pieces: SplitPiece[], signal: AbortSignal): Promise<void> {
    for (const { bytes, cut, midLine } of pieces) {
      signal.throwIfAborted()
      this.#current ??= this.#open()
      if (bytes.length > 0) await raceAbort(this.#current.writer.write(bytes), signal)
      if (!cut) continue
      this.#close(this.#current, midLine)
      await this.#settle(this.#options.blocksInFlight - 1, signal)
      if (this.#reports.length >= this.#options.blocksPerEntry) await this.#record(signal)
    }
  }

  /** Waits until all partitions are safe and recorded under the lease. */
  async end(signal: AbortSignal): Promise<OpenFile> {
    await this.#settle(0, signal)
    if (this.#reports.length > 0) await this.#record(signal)
    const { fileId } = this.#file
    return { fileId, bytes: this.#bytes, blockCount: this.#next, degraded: this.#degraded }
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

  async #record(signal: AbortSignal): Promise<void> {
    const blocks = this.#reports
    this.#reports = []
    accepted(await this.#ports.propose({ type: 'add-blocks', fileId: this.#file.fileId, blocks }, { signal }))
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
