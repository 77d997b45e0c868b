import { crc32 } from 'node:zlib'
import { joined, PairEncoder } from '../codec/index.ts'
import type { AggregationTable } from './aggregation-table.ts'
import { ENGINE } from './config.ts'
import { bucketOf } from './hashing.ts'
import type { PartitionOf } from './partition-function.ts'
import { combinedBytes } from './spilling-table.ts'
import type { SpillFile } from '../task.ts'
import type { MemoryHolding } from './task-memory.ts'

/** A finished map output: bucket r is bytes [offsets[r], offsets[r + 1]). */
export interface FinishedOutput {
  offsets: number[]
  sizeBytes: number
  checksum: number
  /** In memory, or in a sealed file. */
  content: { bytes: Uint8Array } | { file: string }
}

/**
 * The buckets that a shuffle-map task fills, one per reduce partition. Encoded batches that the task has no memory for
 * wait in a file; then the whole output is written as one, bucket after bucket. The bytes are the same either way.
 */
export class MapOutput {
  readonly buckets: PairEncoder[]
  readonly #partitionOf: PartitionOf | null
  readonly #memory: MemoryHolding
  readonly #openKept: () => SpillFile
  /** Encoded batches on disk, with where those of each bucket are. */
  #spilled: { file: SpillFile; extents: [start: number, end: number][][] } | undefined

  /**
   * @param partitionOf Null for hash partitioning.
   * @param openKept Makes the file for an output that does not fit into memory.
   */
  constructor(
    partitions: number,
    partitionOf: PartitionOf | null,
    memory: MemoryHolding,
    openKept: () => SpillFile,
  ) {
    this.buckets = Array.from({ length: partitions }, () => new PairEncoder())
    this.#partitionOf = partitionOf
    this.#memory = memory
    this.#openKept = openKept
  }

  /** Pairs that were put in. */
  get rows(): number {
    let rows = 0
    for (const bucket of this.buckets) rows += bucket.rowsTotal
    return rows
  }

  /** Encodes open batches, which lets go of the texts that their strings are slices of. */
  flush(): void {
    for (const bucket of this.buckets) bucket.flush()
  }

  /** Counts what is held. Open batches are no more than so much whatever the number of buckets: where they end depends on the data alone. */
  measure(): void {
    let open = 0
    for (const bucket of this.buckets) open += bucket.openBytes
    if (open > ENGINE.openBatchesBytes) this.flush()
    if (this.#memory.tryResize(this.#heldBytes())) return
    this.#writeBatches()
    // The open batches stay; they have the bound above.
    this.#memory.tryResize(0)
    this.#memory.hold(this.#heldBytes())
  }

  #heldBytes(): number {
    let bytes = 0
    for (const bucket of this.buckets) bytes += bucket.heldBytes
    return bytes
  }

  #writeBatches(): void {
    const { spill } = this.#memory
    this.#spilled ??= { file: spill.open(), extents: this.buckets.map(() => []) }
    const { file, extents } = this.#spilled
    for (const [r, bucket] of this.buckets.entries()) {
      const encoded = bucket.take()
      for (const chunk of encoded.chunks) {
        const start = file.append(chunk)
        extents[r]!.push([start, start + chunk.length])
        spill.bytes += chunk.length
      }
      spill.records += encoded.rows
    }
  }

  /** Moves all entries of a table into their buckets, in order of first insertion, and empties it. */
  take(table: AggregationTable): void {
    const { keys, values } = table
    const partitionOf = this.#partitionOf
    if (partitionOf === null) {
      const hashes = table.keyHashes()
      for (let i = 0; i < keys.length; i++) {
        this.buckets[bucketOf(hashes[i]!, this.buckets.length)]!.append(keys[i], values[i])
      }
    } else {
      for (let i = 0; i < keys.length; i++) this.buckets[partitionOf(keys[i])]!.append(keys[i], values[i])
    }
    table.clear()
    this.measure()
  }

  finish(): FinishedOutput {
    return this.#spilled === undefined ? this.#inMemory() : this.#onDisk(this.#spilled)
  }

  #inMemory(): FinishedOutput {
    const chunks: Uint8Array[] = []
    const offsets = [0]
    let sizeBytes = 0
    for (const bucket of this.buckets) {
      for (const chunk of bucket.finish()) {
        chunks.push(chunk)
        sizeBytes += chunk.length
      }
      offsets.push(sizeBytes)
    }
    const bytes = joined(chunks, sizeBytes)
    return { offsets, sizeBytes, checksum: crc32(bytes), content: { bytes } }
  }

  #onDisk({ file, extents }: { file: SpillFile; extents: [number, number][][] }): FinishedOutput {
    const kept = this.#openKept()
    const offsets = [0]
    let sizeBytes = 0
    let checksum = 0
    const write = (chunk: Uint8Array): void => {
      kept.append(chunk)
      sizeBytes += chunk.length
      checksum = crc32(chunk, checksum)
    }
    try {
      for (const [r, bucket] of this.buckets.entries()) {
        for (const [start, end] of extents[r]!) write(file.read(start, end))
        for (const chunk of bucket.finish()) write(chunk)
        offsets.push(sizeBytes)
      }
      return { offsets, sizeBytes, checksum, content: { file: kept.seal() } }
    } finally {
      kept.close()
      this.#memory.spill.close(file)
    }
  }
}

/**
 * A full map-side table is written out; where that happens depends on the data alone, never on the peer, or sums of
 * fractions would differ between attempts. So it is held whatever the task's limits say: this is its bound.
 */
export function isFull(table: AggregationTable, keys: MemoryHolding): boolean {
  if (keys.bytes >= ENGINE.combineBytes || table.size >= ENGINE.combineKeys) return true
  return (
    typeof table.values[0] !== 'number' && keys.bytes + combinedBytes(table.values) >= ENGINE.combineBytes
  )
}
