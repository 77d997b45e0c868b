import { ShoalError, type AbortOptions, type FileId } from '../base/index.ts'
import type { BlockReader } from './block-reader.ts'
import type { FileOptions } from './config.ts'
import { forget, type FileServicePorts } from './file-ports.ts'
import type { BlockStatus } from './namespace-types.ts'

export type Consistency = 'linearizable' | 'stale'

export interface OpenOptions extends AbortOptions {
  /** First byte; negative counts from the end. @default 0 */
  start?: number | undefined
  /** One past the last byte; past the end means the end. @default the end */
  end?: number | undefined
  /** Only this partition; `start` and `end` then count inside it. */
  partition?: number | undefined
  /** NOT_FOUND unless the path still names this version. */
  fileId?: FileId | undefined
  /** `stale` asks nobody and may miss the latest commits. @default 'linearizable' */
  consistency?: Consistency | undefined
}

export interface OpenedFile {
  fileId: FileId
  /** Length of `body`. */
  bytes: number
  /** Where `body` starts in the file, or in the partition when one was asked for. */
  start: number
  /** Of the whole file. */
  sizeBytes: number
  partitions: number
  body: AsyncGenerator<Uint8Array, void>
}

interface Slice {
  block: BlockStatus
  /** Inside the block. */
  start: number
  end: number
}

/** Reads files: partition after partition, the next one opened before the current one ends. */
export class FileReader {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #blocks: BlockReader

  constructor(ports: FileServicePorts, options: FileOptions, blocks: BlockReader) {
    this.#ports = ports
    this.#options = options
    this.#blocks = blocks
  }

  /** Looks the file up, then streams; a file that is replaced or removed meanwhile is read to its end all the same. */
  async open(path: string, options: OpenOptions = {}): Promise<OpenedFile> {
    const { consistency = 'linearizable', fileId, partition, signal } = options
    if (consistency === 'linearizable') await this.#ports.readBarrier({ signal })
    const namespace = this.#ports.namespace()
    const status = namespace.stat(path)
    const blocks = namespace.blocksOf(path)
    if (status.fileId === undefined || (fileId !== undefined && fileId !== status.fileId)) {
      throw new ShoalError(
        'NOT_FOUND',
        { path, replaced: true },
        `${path} was replaced by another version; read it again`,
      )
    }
    const chosen = partition === undefined ? blocks : blocks.slice(partition, partition + 1)
    if (partition !== undefined && chosen.length === 0) {
      throw new ShoalError(
        'NOT_FOUND',
        { path },
        `${path} has ${blocks.length} partitions, so there is no partition ${partition}`,
      )
    }
    const base = partition === undefined ? 0 : (chosen[0]?.offset ?? 0)
    const size = chosen.reduce((sum, block) => sum + block.sizeBytes, 0)
    const end = Math.min(options.end ?? size, size)
    const from = options.start ?? 0
    const start = Math.min(from < 0 ? Math.max(size + from, 0) : from, end)
    const slices = slicesOf(chosen, base + start, base + end)
    return {
      fileId: status.fileId,
      bytes: end - start,
      start,
      sizeBytes: status.sizeBytes,
      partitions: blocks.length,
      body: this.#stream(path, slices, signal),
    }
  }

  async *#stream(
    path: string,
    slices: readonly Slice[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void> {
    const open = (slice: Slice | undefined): Prefetch | undefined =>
      slice && new Prefetch(this.#blocks.read(path, slice.block, rangeOf(slice, signal)))
    let current = open(slices[0])
    let next: Prefetch | undefined
    try {
      for (const [index, slice] of slices.entries()) {
        let left = slice.end - slice.start
        for await (const chunk of current ?? []) {
          left -= chunk.length
          if (left <= this.#options.prefetchBytes && next === undefined) {
            next = open(slices[index + 1])
            next?.start()
          }
          yield chunk
        }
        current = next
        next = undefined
      }
    } finally {
      next?.cancel()
    }
  }
}

/** A generator whose first step may be taken before anybody reads: the call is made, and bytes fill the body's window. */
class Prefetch implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncGenerator<Uint8Array, void>
  #first: Promise<IteratorResult<Uint8Array, void>> | undefined

  constructor(source: AsyncGenerator<Uint8Array, void>) {
    this.#source = source
  }

  start(): void {
    this.#first ??= this.#source.next()
    // Reported to whoever reads; nobody may.
    forget(this.#first)
  }

  cancel(): void {
    forget(this.#source.return())
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    try {
      const first = await (this.#first ?? this.#source.next())
      if (first.done === true) return
      yield first.value
      yield* this.#source
    } finally {
      await this.#source.return()
    }
  }
}

function slicesOf(blocks: readonly BlockStatus[], start: number, end: number): Slice[] {
  const slices: Slice[] = []
  for (const block of blocks) {
    const from = Math.max(start - block.offset, 0)
    const to = Math.min(end - block.offset, block.sizeBytes)
    if (from < to) slices.push({ block, start: from, end: to })
  }
  return slices
}

function rangeOf({ start, end }: Slice, signal: AbortSignal | undefined) {
  return signal === undefined ? { start, end } : { start, end, signal }
}
