import { raceAbort, type AbortOptions } from '../base/deadline.ts'
import { encodeRows, estimateBytes } from './codec/index.ts'
import type { FoundFile } from './file-layout.ts'
import type { FileResolver } from './job-runner.ts'
import type { FileRange } from './plan.ts'

/** Rows that stay together: partitions are cut between such batches. */
const BATCH_ROWS = 1024
const BATCH_BYTES = 256 * 1024
/** One row in so many is measured. */
const SAMPLE_EVERY = 16
/** Stored at once; twice as much is held, for the next file fills while one is being stored. */
const FILE_BYTES = 8 * 1024 * 1024

/** Elements of a stream, read to their end. */
export type Streamed<T> =
  /** So few that they need no file. */
  | { rows: T[] }
  /** Stored, in partitions of about as many elements, in order. */
  | { files: FoundFile[]; parts: FileRange[][] }

interface Batch {
  file: number
  start: number
  end: number
  /** Elements before it. */
  first: number
}

/**
 * Reads a stream to its end into files that last as long as the session, holding about 16 MiB of it. The source is asked for
 * no more while they are being stored.
 * @throws what the source throws, what storing throws, the signal's reason
 */
export async function streamed<T>(
  source: AsyncIterable<T> | Iterable<T>,
  slices: number,
  files: Pick<FileResolver, 'keep'>,
  { signal }: AbortOptions = {},
): Promise<Streamed<T>> {
  const reading = new StreamReader<T>(files, signal).read(source, slices)
  // A source that is silent would not notice the signal.
  return await (signal === undefined ? reading : raceAbort(reading, signal))
}

class StreamReader<T> {
  readonly #files: Pick<FileResolver, 'keep'>
  readonly #signal: AbortSignal | undefined
  readonly #stored: Promise<FoundFile>[] = []
  readonly #batches: Batch[] = []
  #open: T[] = []
  #openBytes = 0
  /** Encoded, for the next file. */
  #chunks: Uint8Array[] = []
  #chunkBytes = 0
  #rows = 0

  constructor(files: Pick<FileResolver, 'keep'>, signal: AbortSignal | undefined) {
    this.#files = files
    this.#signal = signal
  }

  async read(source: AsyncIterable<T> | Iterable<T>, slices: number): Promise<Streamed<T>> {
    for await (const element of source) {
      this.#signal?.throwIfAborted()
      const count = this.#open.push(element)
      if (count % SAMPLE_EVERY === 1) this.#openBytes += SAMPLE_EVERY * estimateBytes(element)
      if (count < BATCH_ROWS && this.#openBytes < BATCH_BYTES) continue
      this.#encode()
      if (this.#chunkBytes >= FILE_BYTES) await this.#store()
      else await breath()
    }
    this.#signal?.throwIfAborted()
    if (this.#batches.length === 0) return { rows: this.#open }
    if (this.#open.length > 0) this.#encode()
    if (this.#chunkBytes > 0) await this.#store()
    return { files: await Promise.all(this.#stored), parts: partsOf(this.#batches, this.#rows, slices) }
  }

  #encode(): void {
    const bytes = encodeRows(this.#open)
    const [start, file] = [this.#chunkBytes, this.#stored.length]
    this.#batches.push({ file, start, end: start + bytes.length, first: this.#rows })
    this.#chunks.push(bytes)
    this.#chunkBytes += bytes.length
    this.#rows += this.#open.length
    this.#open = []
    this.#openBytes = 0
  }

  /** Begins to; waits for the file before. */
  async #store(): Promise<void> {
    const content = Buffer.concat(this.#chunks, this.#chunkBytes)
    this.#chunks = []
    this.#chunkBytes = 0
    const before = this.#stored.at(-1)
    const storing = this.#files.keep(content, { signal: this.#signal })
    // Looked at with the next file, or at the end.
    storing.catch(() => undefined)
    this.#stored.push(storing)
    await before
  }
}

/** A source that never waits must not hold up the process: a peer's heartbeats, say. */
function breath(): Promise<void> {
  return new Promise(resolve => {
    setImmediate(resolve)
  })
}

/** Batch after batch to the partition that its first element belongs to, neighbours in one range. */
function partsOf(batches: readonly Batch[], rows: number, slices: number): FileRange[][] {
  const parts: FileRange[][] = Array.from({ length: slices }, () => [])
  for (const { file, start, end, first } of batches) {
    const part = parts[Math.floor((first * slices) / rows)]!
    const last = part.at(-1)
    if (last?.file === file && last.end === start) last.end = end
    else part.push({ file, start, end })
  }
  return parts
}
